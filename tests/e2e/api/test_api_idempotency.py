"""Submissions with an `Idempotency-Key`: sent again, they make no second job."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from ci_client.aio import CiClient
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem

PROJECT = zipped(test_a__py="def test(): pass")
Submit = Callable[[Api, str, str], Awaitable[httpx.Response]]


async def create(api: Api, key: str, what: str) -> httpx.Response:
    return await api.client.post("/jobs", json={"type": "echo", "project": what}, headers={"Idempotency-Key": key})


async def upload(api: Api, key: str, what: str) -> httpx.Response:
    # Each form has a boundary of its own.
    files = {"file": ("p.zip", PROJECT), "spec": (None, f'{{"command": "true", "project": "{what}"}}')}
    return await api.client.post("/submit-async", files=files, headers={"Idempotency-Key": key})


async def retry(api: Api, key: str, what: str) -> httpx.Response:
    jobs = (await api.client.get("/jobs")).json()
    done = [job["job_id"] for job in jobs if job["status"] == "completed"]
    if not done:
        done = [await api.submit()]
        await api.controller.start(done[0])
        await api.controller.finish(done[0])
    return await api.client.post(f"/jobs/{done[0]}/retry", json={"project": what}, headers={"Idempotency-Key": key})


async def jobs_of(api: Api, project: str) -> list[str]:
    return [job["job_id"] for job in (await api.client.get("/jobs", params={"project": project})).json()]


@pytest.mark.parametrize("submit", [create, upload, retry])
async def test_the_same_submission_has_one_job(api: Api, submit: Submit) -> None:
    first = await submit(api, "a", "p")
    assert (first.status_code, first.headers.get("Idempotency-Replayed")) == (202, None)
    job_id = first.json()["job_id"]
    for key in ("a", '"a"'):
        again = await submit(api, key, "p")
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
        assert (again.json()["job_id"], again.headers["Location"]) == (job_id, f"/jobs/{job_id}")
    other = problem(await submit(api, "a", "other"), 422)
    assert other["code"] == "idempotency_key_reused"
    assert job_id not in other["detail"]
    assert (await submit(api, "b", "p")).status_code == 202
    assert len(await jobs_of(api, "p")) == 2
    assert await jobs_of(api, "other") == []


async def test_a_key_belongs_to_one_kind_of_submission(api: Api) -> None:
    assert (await create(api, "a", "p")).status_code == 202
    problem(await upload(api, "a", "p"), 422)
    assert api.left_over() == [], "what was received for nothing is gone"


async def test_the_stream_of_the_same_job(api: Api) -> None:
    job_id = (await create(api, "x", "other")).json()["job_id"]
    headers = {"Idempotency-Key": "a"}
    seen = []
    for _ in range(2):
        form = {"files": {"file": ("p.zip", PROJECT)}, "data": {"spec": '{"command": "true"}'}, "headers": headers}
        async with api.client.stream("POST", "/submit-stream", **form) as answer:
            seen.append((answer.status_code, answer.headers.get("Idempotency-Replayed"), answer.headers["Location"]))
    assert seen[0][:2] == (200, None)
    assert seen[1] == (200, "true", seen[0][2])
    assert seen[0][2] != f"/jobs/{job_id}"


@pytest.mark.parametrize("submit", [create, upload])
async def test_at_the_same_time_at_two_servers(start_api: StartApi, submit: Submit) -> None:
    servers = [await start_api(), await start_api()]
    answers = await asyncio.gather(*(submit(servers[number % 2], "a", "p") for number in range(8)))
    [job_id] = await jobs_of(servers[0], "p")
    assert [answer.status_code for answer in answers].count(202) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert problem(answer, 409)["code"] == "submission_in_progress"
            assert answer.headers["Retry-After"] == "1"
        else:
            assert answer.json()["job_id"] == job_id
    assert (await submit(servers[1], "a", "p")).json()["job_id"] == job_id
    assert [path.name for path in servers[0].left_over()] == ([job_id] if submit is upload else [])


async def test_a_deleted_job_is_not_made_again(api: Api) -> None:
    job_id = (await create(api, "a", "p")).json()["job_id"]
    await api.controller.cancel(job_id)
    assert (await api.client.delete(f"/jobs/{job_id}")).status_code == 204
    gone = problem(await create(api, "a", "p"), 404)
    assert f"made job {job_id}, which has been deleted" in gone["detail"]


async def test_a_refused_submission_leaves_its_key_free(start_api: StartApi) -> None:
    api = await start_api(max_queued=1)
    job_id = (await create(api, "a", "p")).json()["job_id"]
    problem(await create(api, "b", "p"), 429)
    await api.controller.cancel(job_id)
    assert (await create(api, "b", "p")).status_code == 202


@asynccontextmanager
async def losing_answers(api: Api, number: int) -> AsyncIterator[str]:
    """Yield the URL of a way to the server on which the first answers are lost, although the requests arrive."""
    left = number

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, may_lose: bool) -> None:
        nonlocal left
        with suppress(ConnectionError):  # The client goes when it has seen enough of a stream.
            while data := await source.read(65_536):
                if may_lose and left:
                    left -= 1
                    return
                target.write(data)
                await target.drain()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = httpx.URL(api.url)
        answers, requests = await asyncio.open_connection(url.host, url.port)
        pumps = [
            asyncio.create_task(pump(reader, requests, may_lose=False)),
            asyncio.create_task(pump(answers, writer, may_lose=True)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (requests, writer):
            end.close()
            with suppress(ConnectionError):
                await end.wait_closed()

    carried: set[asyncio.Task[None]] = set()
    way = await asyncio.start_server(
        lambda reader, writer: carried.add(asyncio.create_task(carry(reader, writer))), "127.0.0.1", 0
    )
    async with way:
        yield f"http://127.0.0.1:{way.sockets[0].getsockname()[1]}"
        await asyncio.gather(*carried)  # The client has closed its connections.
    assert left == 0


@pytest.mark.parametrize("lost", [1, 2])
async def test_the_client_gets_the_job_whose_answer_was_lost(api: Api, tmp_path: Path, lost: int) -> None:
    archive = tmp_path / "p.zip"
    archive.write_bytes(PROJECT)
    spec = {"command": "true", "project": "p"}
    async with losing_answers(api, lost) as url, CiClient(url) as client:
        made = [await client.create_job({"type": "echo", "project": "p"})]
    async with losing_answers(api, lost) as url, CiClient(url) as client:
        made.append(await client.submit(archive, spec=spec))
    async with (
        losing_answers(api, lost) as url,
        CiClient(url) as client,
        aclosing(client.submit_and_stream(archive, spec=spec)) as events,
    ):
        made.append((await anext(events))["job_id"])
    assert await jobs_of(api, "p") == sorted(made, reverse=True)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
async def test_unusable_keys(api: Api, key: str) -> None:
    assert "Idempotency-Key" in problem(await create(api, key, "p"), 400)["detail"]
    assert await jobs_of(api, "p") == []
