"""Deleting jobs over HTTP: one, or those that are old; and what readers see of it who are in the middle."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ci_client.aio import CiClient
from ci_common.jobs import Conclusion
from ci_common.run_directory.untrusted_files import open_regular
from ci_common.times import utc_now
from ci_persistence.stores.jobs import JobStore
from ci_server.jobs import delete_endpoints, submit_endpoints
from ci_server.streaming.row_watcher import Follower
from tests.helpers.http import Seen, events_of
from tests.helpers.played_api import Api, zipped
from tests.helpers.service import paths, problem
from tests.helpers.waiting import PATIENCE

LONG = b"0123456789abcde\n" * 2_000_000
"""More than what fits between a server and a reader that does not read."""


async def completed(api: Api, log: bytes = b"hello\n", **changes: Any) -> str:
    job_id = await api.submit()
    await finish(api, job_id, log, **changes)
    return job_id


async def finish(api: Api, job_id: str, log: bytes = b"hello\n", **changes: Any) -> None:
    await api.controller.start(job_id)
    api.controller.write(job_id, log)
    await api.controller.finish(job_id, **changes)


def open_logs(api: Api) -> list[str]:
    """Return the open files that may be logs, of this process, which has the server."""
    found = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sorted(path for path in found if path == os.devnull or path.startswith(str(api.data.jobs)))


def remove_as_the_controller_does(api: Api, job_id: str) -> None:
    shutil.rmtree(api.data.job(job_id))


async def listed(api: Api) -> list[str]:
    return [job["job_id"] for job in (await api.client.get("/jobs")).json()]


async def test_a_completed_job_is_gone_for_everybody(api: Api) -> None:
    job_id, other = await completed(api), await completed(api)
    assert (await api.client.delete(f"/jobs/{job_id}")).status_code == 204
    for path in ("", "/log", "/stream", "/stream?from_beginning=true"):
        assert problem(await api.client.get(f"/jobs/{job_id}{path}"), 404)["code"] == "job_not_found"
    for path in ("/cancel", "/retry"):
        problem(await api.client.post(f"/jobs/{job_id}{path}"), 404)
    problem(await api.client.delete(f"/jobs/{job_id}"), 404)
    assert await listed(api) == [other]
    assert (await api.client.get("/jobs/cleanup")).json() == {"pending": 1}


async def test_a_job_that_has_not_completed_is_cancelled(api: Api) -> None:
    job_id = await api.submit()
    answers = [await api.client.delete(f"/jobs/{job_id}") for _ in range(2)]
    await api.controller.start(job_id)
    answers.append(await api.client.delete(f"/jobs/{job_id}"))
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.json()["cancel_requested_time"] for answer in answers} - {None}) == 1
    assert await listed(api) == [job_id]
    await api.controller.cancel(job_id)
    assert (await api.client.delete(f"/jobs/{job_id}")).status_code == 204


@pytest.mark.parametrize("job_id", ["01900000-0000-7000-8000-000000000000", "nope"])
async def test_an_unknown_job(api: Api, job_id: str) -> None:
    assert problem(await api.client.delete(f"/jobs/{job_id}"), 404)["code"] == "job_not_found"


async def test_the_cleanup_is_no_job(api: Api) -> None:
    answer = await api.client.delete("/jobs/cleanup")
    assert problem(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.fixture
async def jobs(api: Api) -> list[str]:
    """Return five completed jobs; the one with number n ended n days ago. Another one has not completed."""
    kinds = [("a", "succeeded"), ("a", "failed"), ("b", "succeeded"), ("b", "errored"), (None, "cancelled")]
    jobs = []
    for number, (project, conclusion) in enumerate(kinds):
        job_id = await api.submit(**{} if project is None else {"project": project})
        exit_code = {"exit_code": None} if conclusion != "succeeded" else {}
        ended = {"conclusion": Conclusion(conclusion), "end_time": utc_now() - timedelta(days=number, minutes=1)}
        await finish(api, job_id, **exit_code, **ended)
        jobs.append(job_id)
    await api.submit(project="a")
    return jobs


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"older_than": "3d"}, [4, 3]),
        ({"older_than": 86400}, [4, 3, 2, 1]),
        ({"older_than": 0}, [4, 3, 2, 1, 0]),
        ({"older_than": "300000000"}, []),
        ({"keep": 2}, [4, 3, 2]),
        ({"keep": 0}, [4, 3, 2, 1, 0]),
        ({"keep": 4, "older_than": "1d"}, [4]),
        ({"keep": 1, "older_than": "4d"}, [4]),
        ({"keep": 1, "project": "b"}, [3]),
        ({"older_than": "0", "project": "none"}, []),
        ({"older_than": "0", "conclusion": "failed"}, [1]),
        ({"older_than": "0", "conclusion": ["failed", "errored"]}, [3, 1]),
    ],
    ids=str,
)
async def test_cleanup(api: Api, jobs: list[str], body: dict[str, Any], expected: list[int]) -> None:
    ids = [jobs[number] for number in expected]
    dry = (await api.client.post("/jobs/cleanup", json=body | {"dry_run": True})).json()
    assert dry == {"deleted": 0, "job_ids": ids, "more": False}
    assert len(await listed(api)) == 6
    answer = (await api.client.post("/jobs/cleanup", json=body)).json()
    assert answer == {"deleted": len(ids), "job_ids": ids, "more": False}
    assert len(await listed(api)) == 6 - len(ids)
    assert (await api.client.get("/jobs/cleanup")).json() == {"pending": len(ids)}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "older_than"),
        ({"project": "a"}, "older_than"),
        ({"older_than": "soon"}, "older_than"),
        ({"older_than": -1}, "older_than"),
        ({"older_than": 1e300}, "older_than"),
        ({"keep": -1}, "keep"),
        ({"keep": 2**31}, "keep"),
        ({"older_than": "1d", "conclusion": "lost"}, "conclusion.0"),
        ({"older_than": "1d", "status": "queued"}, "status"),
        ({"older_than": "1d", "dry_run": "perhaps"}, "dry_run"),
    ],
    ids=str,
)
async def test_cleanup_that_is_not_valid_deletes_nothing(
    api: Api, jobs: list[str], body: dict[str, Any], path: str
) -> None:
    assert path in paths(problem(await api.client.post("/jobs/cleanup", json=body), 400))
    assert len(await listed(api)) == 6


def multiply(api: Api, job_id: str, number: int) -> None:
    """Have `number` more jobs like this one, by the database alone."""
    with closing(sqlite3.connect(api.settings.db_path)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]
        values = ["printf('%08x-0000-7000-8000-000000000000', n)" if name == "id" else name for name in columns]
        connection.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number}) "
            f"INSERT INTO jobs ({', '.join(columns)}) SELECT {', '.join(values)} FROM jobs, numbers WHERE id = ?",
            [job_id],
        )


async def test_ten_thousand_jobs(api: Api) -> None:
    job_id = await completed(api)
    multiply(api, job_id, 10_000)
    async with CiClient(api.url) as client:
        deleted = await client.clean_up(older_than=0)
    assert len(set(deleted)) == 10_001
    assert await listed(api) == []
    assert await api.controller.storage.retention.count_removals() == 10_001


@pytest.mark.parametrize(("limit", "value"), [("MOST_JOBS", 3), ("MOST_SECONDS", -1.0)])
async def test_more_than_one_request_takes(api: Api, monkeypatch: pytest.MonkeyPatch, limit: str, value: float) -> None:
    multiply(api, await completed(api), 6)
    monkeypatch.setattr(delete_endpoints, limit, value)
    answer = (await api.client.post("/jobs/cleanup", json={"older_than": 0})).json()
    assert answer["more"]
    assert answer["deleted"] == len(answer["job_ids"]) <= 3
    monkeypatch.setattr(delete_endpoints, "MOST_SECONDS", 20.0)
    async with CiClient(api.url) as client:
        assert len(await client.clean_up(older_than=0)) + answer["deleted"] == 7


async def test_of_many_who_delete_one_does(api: Api) -> None:
    job_id = await completed(api)
    answers = await asyncio.gather(*(api.client.delete(f"/jobs/{job_id}") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 9


async def test_retry_beside_a_deletion(api: Api) -> None:
    """The new job has what it needs, or there is none."""
    for _ in range(5):
        job_id = (await api.upload(zipped(test_a__py="def test(): pass"))).json()["job_id"]
        await finish(api, job_id)
        retried, deleted = await asyncio.gather(
            api.client.post(f"/jobs/{job_id}/retry"), api.client.delete(f"/jobs/{job_id}")
        )
        assert deleted.status_code == 204
        assert retried.status_code in (202, 404), retried.text
        remove_as_the_controller_does(api, job_id)
        if retried.status_code == 202:
            again = retried.json()["job_id"]
            assert (api.data.run(again, 1).workspace / "test_a.py").exists()
            assert api.data.upload(again).exists()
    assert list(api.data.incoming.iterdir()) == []


async def test_retry_of_a_job_that_is_deleted_just_then(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = (await api.upload(zipped(test_a__py="def test(): pass"))).json()["job_id"]
    await finish(api, job_id)
    remove_as_the_controller_does(api, job_id)
    assert "CI_UPLOAD_RETENTION" in problem(await api.client.post(f"/jobs/{job_id}/retry"), 409)["detail"]
    check = submit_endpoints.retry

    async def deleted_meanwhile(*args: Any) -> Any:
        await api.controller.storage.retention.delete([job_id])
        return await check(*args)

    monkeypatch.setattr(submit_endpoints, "retry", deleted_meanwhile)
    problem(await api.client.post(f"/jobs/{job_id}/retry"), 404)


async def test_a_log_that_is_being_read_is_read_to_its_end(api: Api) -> None:
    job_id = await completed(api, LONG)
    async with api.client.stream("GET", f"/jobs/{job_id}/log") as response:
        chunks = response.aiter_raw()
        log = await anext(chunks)
        assert (await api.client.delete(f"/jobs/{job_id}")).status_code == 204
        remove_as_the_controller_does(api, job_id)
        log += b"".join([chunk async for chunk in chunks])
    assert log == LONG


@pytest.mark.parametrize("is_short", [False, True], ids=["gone", "cut short"])
@pytest.mark.parametrize("path", ["/log", "/log/index", "?include=log"])
async def test_a_log_that_goes_before_it_is_opened_is_not_found(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, is_short: bool
) -> None:
    """And its descriptor is closed."""
    job_id = await completed(api)

    def deleted_meanwhile(path: Path) -> int:
        with closing(sqlite3.connect(api.settings.db_path)) as connection, connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", [job_id])
        if is_short:
            os.truncate(path, 1)
        else:
            path.unlink()
        return open_regular(path)

    monkeypatch.setattr("ci_server.jobs.job_view.open_regular", deleted_meanwhile)
    before = open_logs(api)
    problem(await api.client.get(f"/jobs/{job_id}{path}"), 404)
    assert open_logs(api) == before


@pytest.mark.parametrize("path", ["/log", "/log/index"])
async def test_a_log_is_closed_where_its_reader_leaves_before_it_is_known_to_be_whole(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    job_id = await completed(api)
    monkeypatch.setattr("ci_server.jobs.job_view.open_regular", lambda _: os.open(os.devnull, os.O_RDONLY))
    before, get, left, asked = open_logs(api), JobStore.get, asyncio.Event(), 0

    async def stuck(store: JobStore, job_id: str) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            return await get(store, job_id)
        try:
            asyncio.current_task().cancel()  # type: ignore[union-attr]  # as the end of the server does
            await asyncio.sleep(0)
        finally:
            left.set()

    monkeypatch.setattr(JobStore, "get", stuck)
    with suppress(httpx.HTTPError):
        await api.client.get(f"/jobs/{job_id}{path}")
    await asyncio.wait_for(left.wait(), PATIENCE)
    assert open_logs(api) == before


async def completed_at_second_try(api: Api, first_log: bytes) -> str:
    job_id = await api.submit(retry={"max_attempts": 2})
    await api.controller.start(job_id)
    api.controller.write(job_id, first_log)
    await api.controller.begin_anew(job_id, 1)
    await finish(api, job_id)
    return job_id


@pytest.mark.parametrize("complete", [completed, completed_at_second_try])
@pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told yet"])
async def test_a_stream_ends_without_a_verdict_when_its_job_goes(
    api: Api, monkeypatch: pytest.MonkeyPatch, is_told: bool, complete: Callable[[Api, bytes], Awaitable[str]]
) -> None:
    """Also where the files go before this server's readers have been told: a verdict means that the log was whole."""
    if not is_told:
        monkeypatch.setattr(Follower, "on_row", lambda *_: None)
    job_id, seen = await complete(api, LONG), Seen()
    async with api.client.stream("GET", f"/jobs/{job_id}/stream?from_beginning=true") as response:
        events = events_of(response, seen)
        await anext(events)
        assert (await api.client.delete(f"/jobs/{job_id}")).status_code == 204
        remove_as_the_controller_does(api, job_id)
        async for _ in events:
            pass
    assert not {"attempt", "complete"} & set(seen.types)
    assert LONG.startswith(seen.exact)
    problem(await api.client.get(f"/jobs/{job_id}/stream", headers={"Last-Event-ID": seen.last_id}), 404)
