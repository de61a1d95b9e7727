"""Logs that have moved to a store that speaks S3: every answer is the one that it was before."""

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ci_common.artifacts.logs import log_key
from ci_common.artifacts.s3 import S3Store
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import LogTimes
from ci_common.times import to_rfc3339, utc_now
from ci_controller.artifacts.ended_logs import EndedLogs
from ci_server.streaming import line_indexes, stored_logs
from tests.contracts.artifact_store.s3_server import in_environment, make_bucket, s3_server
from tests.helpers.http import Seen, read_stream
from tests.helpers.played_api import Api, StartApi

URL = "s3://logs/x"
LINES = b"".join(b"line %d %s\n" % (number, "größe € 😀".encode() * (number % 7)) for number in range(3_000))
FIRST = LINES + b"\xff\xfe not text\n" + "no newline, and half a character: €".encode()[:-1]
SECOND = b"second attempt\n" * 3
PATIENT = httpx.Timeout(60)
BLOCK = 64 * 1024


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_logs, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(line_indexes, "_MOST_LOGS", 1)  # One index is kept at a time.


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    with s3_server(tmp_path / "s3.log") as server, in_environment(server):
        make_bucket(server, "logs")
        yield server


@pytest.fixture
async def api(start_api: StartApi, s3: str) -> Api:  # it has to run
    started: Api = await start_api(artifacts_url=URL, log_store="artifacts")
    return started


def write(api: Api, job_id: str, run: RunDirectory, log: bytes) -> list[str]:
    """Have a job write its log in parts that are seen a minute apart; return these times."""
    began, parts, instants = utc_now() - timedelta(days=1), 5, []
    for number in range(parts):
        part = log[number * len(log) // parts : (number + 1) * len(log) // parts]
        api.controller.write(job_id, part)
        instants.append(began + timedelta(minutes=number))
        LogTimes(run.times).append(instants[-1], run.log_size())
    return [quote(to_rfc3339(instant + timedelta(seconds=1))) for instant in instants]


def clear(run: RunDirectory) -> None:
    """Leave the run directory as a controller does that has cleaned up."""
    run.record.write_text("{}")
    for path in run.path.iterdir():
        if path.name not in ("log", "run.json"):
            path.unlink()


async def ended_job(api: Api) -> tuple[str, list[str]]:
    """Return a job with two attempts that have ended, and times at which the last one wrote."""
    job_id = await api.submit(retry={"max_attempts": 2})
    write(api, job_id, await api.controller.start(job_id), SECOND)
    clear(api.data.run(job_id, 1))
    await api.controller.begin_anew(job_id, 1)
    instants = write(api, job_id, await api.controller.start(job_id), FIRST)
    await api.controller.finish(job_id, 3)
    clear(api.data.run(job_id, 2))
    return job_id, instants


async def move(api: Api, job_id: str) -> None:
    storage = api.controller.storage
    lease = api.controller.lease
    job = await storage.jobs.get(job_id)
    logs = EndedLogs(api.data, S3Store(URL), storage.logs, lease, lambda: None)
    for number in range(1, job.attempt + 1):
        await logs.move(job.as_of(number))


async def streamed(api: Api, job_id: str, query: str, last: str | None = None) -> list[dict[str, Any]]:
    seen = Seen()
    if last is not None:
        seen.last_id = last
    return (await read_stream(api.client, f"/jobs/{job_id}/stream{query}", seen)).events


async def answers(api: Api, job_id: str, instants: list[str]) -> dict[str, Any]:
    """Return all that is answered about the logs of a job."""
    told: dict[str, Any] = {}
    size = len(FIRST)
    ranges = ("bytes=0-9", "bytes=-10", f"bytes={size - 3}-", f"bytes={size}-", f"bytes={BLOCK - 5}-{BLOCK + 5}")
    for path in (f"/jobs/{job_id}/log", f"/jobs/{job_id}/log?attempt=1"):
        for part in (None, *ranges):
            answer = await api.client.get(path, headers={} if part is None else {"Range": part}, timeout=PATIENT)
            kept = {name: answer.headers.get(name) for name in ("etag", "content-range", "content-length")}
            told[f"{path} {part}"] = (answer.status_code, answer.content if answer.is_success else b"", kept)
    for path in (f"/jobs/{job_id}/log/index", f"/jobs/{job_id}/log/index?attempt=1"):
        told[path] = (await api.client.get(path)).json()
    for query in ("", "?attempt=1&start=10", f"?start={size // 2}&end={size // 2 + 1}", f"?start={size * 9}"):
        told[f"times{query}"] = (await api.client.get(f"/jobs/{job_id}/log/times{query}")).json()
    head = await api.client.head(f"/jobs/{job_id}/log")
    told["head"] = head.status_code, head.headers["content-length"]
    told["excerpt"] = (await api.client.get(f"/jobs/{job_id}?include=log")).json()["log"]
    queries = [f"?tail={lines}" for lines in (0, 1, 2, 100, 2_500, 1_000_000)]
    queries += [f"?since={instant}" for instant in instants]
    for query in ("", "?from_beginning=true", *queries):
        told[f"stream{query}"] = await streamed(api, job_id, query)
    for cursor in ("0", f"{len(SECOND) - 3}", f"2-{size // 2}", f"2-{size - 1}"):
        told[f"resumed {cursor}"] = await streamed(api, job_id, "", cursor)
    return told


async def test_a_log_that_has_moved_is_served_as_before(api: Api) -> None:
    job_id, instants = await ended_job(api)
    before = await answers(api, job_id, instants)
    assert len(before[f"/jobs/{job_id}/log None"][1]) == len(FIRST) > 2 * BLOCK
    await move(api, job_id)
    job = api.data.job(job_id)
    assert sorted(path.name for path in job.iterdir()) == ["1", "1.stored", "2", "2.stored"]
    assert [path.name for path in sorted(job.glob("*/*"))] == ["run.json", "run.json"]
    after = await answers(api, job_id, instants)
    for name, answer in before.items():
        assert after[name] == answer, name


async def test_many_readers_at_once_and_cut_ones_get_every_byte(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_logs, "_CAPACITY", BLOCK)
    job_id, _ = await ended_job(api)
    whole = await streamed(api, job_id, "?from_beginning=true")
    await move(api, job_id)

    async def one(start: int) -> list[dict[str, Any]]:
        return (
            await streamed(api, job_id, "", f"2-{start}")
            if start
            else await streamed(api, job_id, "?from_beginning=true")
        )

    chance = random.Random(3)
    starts = [0, 0, 0, *(FIRST.index(b"\n", chance.randrange(len(LINES))) + 1 for _ in range(9))]
    for start, events in zip(starts, await asyncio.gather(*map(one, starts)), strict=True):
        if not start:
            assert events == whole
            continue
        text = "".join(event["data"] for event in events if event["type"] == "log")
        assert text == FIRST[start:].decode(errors="replace")
        assert events[-1] == whole[-1]


async def test_a_stream_goes_on_from_a_moved_attempt_to_one_that_runs(api: Api) -> None:
    job_id = await api.submit(retry={"max_attempts": 2})
    write(api, job_id, await api.controller.start(job_id), SECOND)
    clear(api.data.run(job_id, 1))
    await api.controller.begin_anew(job_id, 1)
    await move(api, job_id)
    reading = asyncio.create_task(streamed(api, job_id, "?from_beginning=true"))
    await api.controller.start(job_id)
    api.controller.write(job_id, b"now\n")
    await api.controller.finish(job_id)
    events = await reading
    assert "".join(event["data"] for event in events if event["type"] == "log") == SECOND.decode() + "now\n"
    assert [event["type"] for event in events if event["type"] in ("attempt", "complete")] == ["attempt", "complete"]


async def test_a_log_that_the_database_does_not_name_is_found(api: Api) -> None:
    """As after a restore of an older copy."""
    job_id, _ = await ended_job(api)
    store = S3Store(URL)
    await move(api, job_id)
    storage = api.controller.storage
    assert (await storage.logs.find(job_id, 2)) is not None
    await api.controller.forget_stored_logs()
    assert (await storage.logs.find(job_id, 2)) is None
    assert (await api.client.get(f"/jobs/{job_id}/log", timeout=PATIENT)).content == FIRST
    await store.remove(log_key(job_id, 2))
    assert (await api.client.get(f"/jobs/{job_id}/log")).content == b""


async def test_a_store_that_has_lost_a_log_is_told(api: Api) -> None:
    job_id, _ = await ended_job(api)
    await move(api, job_id)
    await S3Store(URL).remove(log_key(job_id, 2))
    for path in ("log", "stream", "stream?tail=1", "?include=log"):
        answer = await api.client.get(f"/jobs/{job_id}{'' if path[0] == '?' else '/'}{path}")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), path
        assert answer.json()["detail"] == "the log of this attempt is gone from the store that kept it"
    await api.client.delete(f"/jobs/{job_id}")
    assert (await api.client.get(f"/jobs/{job_id}/log")).status_code == 404


async def test_a_store_that_does_not_answer_is_told(start_api: StartApi, tmp_path: Path) -> None:
    with s3_server(tmp_path / "s3.log") as server, in_environment(server):
        make_bucket(server, "logs")
        api = await start_api(artifacts_url=URL, log_store="artifacts")
        job_id, _ = await ended_job(api)
        await move(api, job_id)
        here = await api.submit()
        write(api, here, await api.controller.start(here), b"here\n")
        await api.controller.finish(here)
    for path in ("log", "log?attempt=1", "stream", "stream?from_beginning=true", "stream?tail=3"):
        answer = await api.client.get(f"/jobs/{job_id}/{path}", timeout=PATIENT)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), path
        assert "the store that keeps artifacts cannot be used at present" in answer.json()["detail"]
    assert (await api.client.get(f"/jobs/{job_id}")).status_code == 200
    assert (await api.client.get(f"/jobs/{here}/log")).content == b"here\n"


async def test_a_server_without_files_serves_what_is_in_the_store(
    start_api: StartApi, api: Api, tmp_path: Path
) -> None:
    job_id, instants = await ended_job(api)
    waiting = await api.submit()
    before = await answers(api, job_id, instants)
    there = await start_api(
        "jobs", artifacts_url=URL, data_dir=tmp_path / "none", controller="off", files="http://home.example"
    )
    assert (await there.client.get(f"/jobs/{job_id}/log")).status_code == 307
    await move(api, job_id)
    after = await answers(there, job_id, instants)
    for name, answer in before.items():
        assert after[name] == answer, name
    empty = await api.submit()
    await api.controller.start(empty)
    await api.controller.finish(empty)
    answer = await there.client.get(f"/jobs/{empty}/log")
    assert (answer.status_code, answer.content) == (200, b""), "there is nothing to be moved"
    assert [event["type"] for event in await streamed(there, empty, "?from_beginning=true")] == ["complete"]
    for path in (f"{waiting}/log", f"{waiting}/stream", f"{waiting}?include=log"):
        answer = await there.client.get(f"/jobs/{path}")
        assert (answer.status_code, answer.headers["location"]) == (307, f"http://home.example/jobs/{path}")
