"""More than the server can take: refused at once, with a reason and a time to come back, and without a trace."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from ci_common.system.disk import Disk
from tests.helpers.machine import PlayedUsage
from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.service import problem
from tests.helpers.waiting import eventually

PYTHON = zipped(test_a__py="def test(): pass")
MIB = 1024**2
UPLOADS = ("/submit-async", "/submit", "/submit-stream")


def head_of(path: str, size: int) -> bytes:
    """Return the head of a request that announces `size` bytes, and the beginning of its form."""
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
    return (
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % (path.encode(), size) + form
    )


@asynccontextmanager
async def uploading(
    api: Api, path: str = "/submit-async", *, size: int = 500 * MIB
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Begin an upload that announces `size` bytes, and cut the connection at the end."""
    reader, writer = await asyncio.open_connection(urlsplit(api.url).hostname, urlsplit(api.url).port)
    writer.write(head_of(path, size))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def refusal(reader: asyncio.StreamReader) -> str:
    """Return the answer to a request whose body has not been sent, once the head of the answer is there."""
    return (await asyncio.wait_for(reader.readuntil(b"}"), 10)).decode().lower()


class PlayedDisk:
    """A disk of 1,000 MiB, of which 50 are to stay free."""

    def __init__(self) -> None:
        self.free = 1000 * MIB

    def usage(self, path: Path) -> PlayedUsage:
        return PlayedUsage(1000 * MIB, self.free)

    def disk(self) -> Disk:
        return Disk([Path("/played")], min_free_bytes=1024 * MIB, min_free_percent=5, usage=self.usage)


async def every_submission(api: Api, completed: str) -> list[httpx.Response]:
    """Return the answers of all endpoints that make jobs."""
    answers = [await api.upload(PYTHON, path) for path in UPLOADS]
    answers.append(await api.client.post("/jobs", json={"command": "true"}))
    answers.append(await api.client.post("/jobs", json={"type": "echo"}))
    answers.append(await api.client.post(f"/jobs/{completed}/retry"))
    return answers


async def ended_job(api: Api) -> str:
    job_id = str((await api.upload(PYTHON)).json()["job_id"])
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    return job_id


async def test_a_full_queue_refuses_every_submission(start_api: StartApi) -> None:
    api = await start_api(max_queued=1)
    completed = await ended_job(api)
    queued = await api.submit()
    before = set(api.left_over())
    for answer in await every_submission(api, completed):
        document = problem(answer, 429)
        assert (document["code"], answer.headers["retry-after"]) == ("queue_full", "5")
        assert "1 jobs are queued" in document["detail"]
    assert set(api.left_over()) == before
    assert (await api.client.get("/ready")).status_code == 200
    await api.controller.start(queued)
    assert (await api.client.post("/jobs", json={"type": "echo"})).status_code == 202


@pytest.mark.parametrize("path", UPLOADS)
async def test_a_full_queue_refuses_before_the_upload_has_come(start_api: StartApi, path: str) -> None:
    api = await start_api(max_queued=1)
    await api.submit()
    async with uploading(api, path) as (reader, _):
        answer = await refusal(reader)
        assert answer.startswith("http/1.1 429 ")
        assert "connection: close" in answer
    assert list(api.data.incoming.iterdir()) == []


async def test_a_queue_that_fills_meanwhile_refuses_the_upload(start_api: StartApi) -> None:
    api = await start_api(max_queued=1)
    async with uploading(api, size=100_000) as (reader, writer):
        await eventually(lambda: list(api.data.incoming.iterdir()))
        queued = await api.submit()
        form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
        rest = PYTHON + b"\r\n--x--\r\n"
        writer.write(rest + b"\0" * (100_000 - len(form) - len(rest)))  # What stands behind the form means nothing.
        assert (await refusal(reader)).startswith("http/1.1 429 ")
        await eventually(lambda: api.left_over() == [] or [path.name for path in api.left_over()] == [queued])
    assert [job["job_id"] for job in (await api.client.get("/jobs")).json()] == [queued]


async def test_whoever_still_sends_gets_the_answer(start_api: StartApi) -> None:
    """A connection that is closed while its client sends is broken, and takes the answer with it."""
    api = await start_api(max_queued=1)
    await api.submit()
    size = 8 * MIB
    async with uploading(api, size=size) as (reader, writer):
        for _ in range(16):  # As clients do that look for an answer only once they have sent everything.
            writer.write(bytes(size // 16))
            await writer.drain()
            await asyncio.sleep(0.01)
        answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    assert answer.startswith("HTTP/1.1 429 ")
    assert '"code": "queue_full"' in answer


async def test_a_connection_ends_soon_after_a_refusal(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_server.http.exchange._LINGER_SECONDS", 0.2)
    api = await start_api(max_queued=1)
    await api.submit()
    async with uploading(api) as (reader, _):
        answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 429 ")


async def test_no_more_uploads_at_once_than_there_are_places(start_api: StartApi) -> None:
    api = await start_api(max_uploads=2)
    completed = await ended_job(api)
    async with uploading(api) as first, uploading(api):
        await eventually(lambda: len(list(api.data.incoming.iterdir())) == 2)

        def check(answer: httpx.Response) -> None:
            assert problem(answer, 503)["code"] == "too_many_uploads"
            assert answer.headers["retry-after"] == "5"

        for path in UPLOADS:
            check(await api.upload(PYTHON, path))
        check(await api.client.post(f"/jobs/{completed}/retry"))
        assert len(list(api.data.incoming.iterdir())) == 2
        await api.submit()  # Nothing is uploaded for it.
        first[1].transport.abort()
        await eventually(lambda: len(list(api.data.incoming.iterdir())) == 1)

        async def is_taken() -> bool:
            return (await api.upload(PYTHON)).status_code == 202

        await eventually(is_taken, "the place is free again soon after its files are gone")
    await eventually(lambda: list(api.data.incoming.iterdir()) == [])


async def test_whoever_trickles_loses_the_place(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_server.http.requests.STALL_SECONDS", 0.5)
    api = await start_api(max_uploads=1)
    async with uploading(api) as (reader, writer):

        async def trickle() -> None:
            while True:
                writer.write(bytes(4096))
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        await eventually(lambda: list(api.data.incoming.iterdir()))
        assert (await refusal(reader)).startswith("http/1.1 408 ")
        trickling.cancel()
        assert (await api.upload(PYTHON)).status_code == 202


async def test_a_low_disk_refuses_every_submission_and_no_other_request(start_api: StartApi) -> None:
    played = PlayedDisk()
    api = await start_api(disk=played.disk())
    completed, running = await ended_job(api), await api.submit()
    await api.controller.start(running)
    before = set(api.left_over())
    played.free = 50 * MIB - 1
    for answer in await every_submission(api, completed):
        document = problem(answer, 503)
        assert (document["code"], answer.headers["retry-after"]) == ("disk_low", "30")
        assert (document["free_bytes"], document["min_free_bytes"]) == (50 * MIB - 1, 50 * MIB)
    assert set(api.left_over()) == before
    assert problem(await api.client.get("/ready"), 503)["errors"][0]["path"] == "disk"
    assert (await api.client.get(f"/jobs/{running}")).json()["status"] == "running"
    assert (await api.client.get(f"/jobs/{completed}/log")).status_code == 200
    played.free = 51 * MIB
    assert (await api.client.get("/ready")).status_code == 200
    assert (await api.upload(PYTHON)).status_code == 202


async def test_announced_uploads_share_the_room_there_is(start_api: StartApi) -> None:
    played = PlayedDisk()
    api = await start_api(disk=played.disk())
    played.free = 650 * MIB
    async with uploading(api, size=500 * MIB):
        await eventually(lambda: list(api.data.incoming.iterdir()))
        async with uploading(api, size=101 * MIB) as (reader, _):
            answer = await refusal(reader)
        assert answer.startswith("http/1.1 503 ")
        assert f'"wanted_bytes": {601 * MIB}' in answer
        assert len(list(api.data.incoming.iterdir())) == 1
        assert (await api.upload(PYTHON)).status_code == 202
    async with uploading(api, size=500 * MIB):
        await eventually(lambda: list(api.data.incoming.iterdir()))


async def test_an_upload_without_a_length_ends_where_the_room_does(start_api: StartApi) -> None:
    played = PlayedDisk()
    api = await start_api(disk=played.disk())

    async def endless() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
        for _ in range(100):
            yield bytes(MIB)
            played.free -= 20 * MIB

    answer = await api.client.post(
        "/submit-async", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    document = problem(answer, 503)
    assert document["code"] == "disk_low"
    assert document["free_bytes"] > -500 * MIB, "long before it had come to its end"
    assert api.left_over() == []


async def test_unpacking_ends_where_the_room_does(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    played = PlayedDisk()
    api = await start_api(disk=played.disk())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test_a.py", "")
        archive.writestr("zeros", bytes(15 * MIB))

    def usage(path: Path) -> PlayedUsage:
        written = sum(path.stat().st_size for path in api.data.incoming.glob("*/1/workspace/zeros"))
        return PlayedUsage(1000 * MIB, 60 * MIB - written)

    monkeypatch.setattr(played, "usage", usage)
    api = await start_api("again", disk=played.disk())
    assert problem(await api.upload(buffer.getvalue()), 503)["code"] == "disk_low"
    assert api.left_over() == []


async def test_the_client_stops_sending_what_is_refused(start_api: StartApi, tmp_path: Path) -> None:
    api = await start_api(max_queued=1)
    await api.submit()
    size, sent = 256 * MIB, 0
    archive = tmp_path / "project.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file, file.open("zeros", "w") as member:
        for _ in range(size // MIB):
            member.write(bytes(MIB))

    def show(count: int, _: int) -> None:
        nonlocal sent
        sent = max(sent, count)

    async with CiClient(api.url, busy_seconds=0) as client:
        with pytest.raises(ServerError) as caught:
            await client.submit(archive, progress=show)
    assert caught.value.code == "queue_full"
    assert sent < size / 2
