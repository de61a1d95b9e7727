"""Uploads over HTTP: what is taken, what is refused, and that nothing is left behind."""

import asyncio
import io
import random
import resource
import time
import zipfile
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.helpers.played_api import Api, StartApi, zipped
from tests.helpers.waiting import PATIENCE, eventually

PYTHON = zipped(test_a__py="def test(): pass")


async def refused(api: Api, answer: httpx.Response, status: int, code: str) -> str:
    """Return the problem's detail, after checking that nothing came of the upload."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["code"] == code
    assert api.left_over() == []
    assert (await api.client.get("/jobs")).json() == []
    return str(answer.json()["detail"])


async def test_an_upload_becomes_a_job(api: Api) -> None:
    answer = await api.upload(PYTHON)
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert answer.json() == {"job_id": job_id}
    assert answer.headers["location"] == f"/jobs/{job_id}"
    assert api.data.upload(job_id).read_bytes() == PYTHON
    assert (api.data.run(job_id, 1).workspace / "test_a.py").read_text() == "def test(): pass"
    assert list(api.data.incoming.iterdir()) == []
    assert sorted(path.name for path in api.data.job(job_id).iterdir()) == ["1", "upload.zip"]
    job = await api.controller.storage.jobs.get(job_id)
    assert job.has_upload
    assert job.payload["upload"]["size"] == len(PYTHON)
    assert job.plan is not None
    assert [step["name"] for step in job.plan["steps"]] == ["setup", "test"]


async def test_an_upload_with_a_spec(api: Api) -> None:
    spec = '{"image": "other", "command": "make", "env": {"MY_KEY": "secret"}, "project": "p"}'
    job_id = (await api.upload(PYTHON, data={"spec": spec})).json()["job_id"]
    job = (await api.client.get(f"/jobs/{job_id}")).json()
    assert (job["project"], job["payload"]["env"]) == ("p", {"MY_KEY": "***"})
    plan = (await api.controller.storage.jobs.get(job_id)).plan
    assert plan is not None
    assert (plan["image"], plan["env"], plan["steps"][0]["shell"]) == ("other", {"MY_KEY": "secret"}, "make")


async def test_a_large_upload_arrives_as_it_was(api: Api) -> None:
    noise = random.Random(1).randbytes(5_000_000)
    content = zipped(**{"test_a.py": "", "data.bin": noise})
    job_id = (await api.upload(content)).json()["job_id"]
    assert api.data.upload(job_id).read_bytes() == content
    assert (api.data.run(job_id, 1).workspace / "data.bin").read_bytes() == noise


async def test_archives_that_are_refused(api: Api) -> None:
    for content, message in (
        (b"no zip", "not a zip archive"),
        (b"", "empty"),
        (zipped(), "empty"),
        (zipped(**{"../x": "bad"}), "leads out"),
        (zipped(**{"/x": "bad"}), "absolute"),
    ):
        assert message in await refused(api, await api.upload(content), 400, "invalid_upload")


async def test_a_project_that_nothing_recognises(api: Api) -> None:
    answer = await api.upload(zipped(main__go="package main"))
    assert "pyproject.toml" in await refused(api, answer, 400, "unrecognised_project")


async def test_a_ci_yaml_that_is_not_valid(api: Api) -> None:
    answer = await api.upload(zipped(ci__yaml="steps: [{run: [1]}]"))
    await refused(api, answer, 400, "invalid_request")
    assert answer.json()["errors"][0]["path"] == "steps.0.run"


async def test_forms_that_are_refused(api: Api) -> None:
    file = ("p.zip", PYTHON)
    for form, path in (
        ({"files": {"spec": (None, "{}")}}, "file"),
        ({"files": {"file": file, "other": (None, "x")}}, "other"),
        ({"files": [("file", file), ("file", file)]}, "file"),
        ({"files": {"file": file, "spec": (None, '{"colour": 1}')}}, "colour"),
        ({"files": [("file", file), ("spec", (None, "{}")), ("spec", (None, "{}"))]}, "spec"),
    ):
        answer = await api.client.post("/submit-async", **form)  # type: ignore[arg-type]
        await refused(api, answer, 400, "invalid_request")
        assert [error["path"] for error in answer.json()["errors"]] == [path]
    for spec in ("{", ""):
        answer = await api.client.post("/submit-async", files={"file": file, "spec": (None, spec)})
        assert "spec is not valid JSON" in await refused(api, answer, 400, "invalid_request")


async def test_bodies_that_are_no_form(api: Api) -> None:
    for content, content_type in (
        (PYTHON, "application/zip"),
        (PYTHON, "multipart/form-data"),
        (PYTHON, "multipart/form-data; boundary=x"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\nPK', "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=x"),
        (PYTHON, "multipart/form-data; boundary=" + "x" * 257),
    ):
        answer = await api.client.post("/submit-async", content=content, headers={"content-type": content_type})
        await refused(api, answer, 400, "invalid_upload")


async def test_limits(start_api: StartApi) -> None:
    api = await start_api(max_upload_bytes=1_000_000, max_unpacked_bytes=20 * 1024**2, max_members=10)
    noise = random.Random(1).randbytes(1_000_001)
    assert "1000000 bytes" in await refused(api, await api.upload(noise), 413, "too_large")
    bomb = zipped(zeros=bytes(64 * 1024**2))
    assert "unpacks to more" in await refused(api, await api.upload(bomb), 413, "too_large")
    crowd = zipped(**{str(number): "" for number in range(11)})
    assert "more than 10" in await refused(api, await api.upload(crowd), 413, "too_large")


def form_of(size: int) -> tuple[bytes, int]:
    """Return the beginning of a form whose file has `size` bytes, and the length of both."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
    return head, len(head) + size


async def test_an_upload_of_two_gigabytes_is_refused_at_once(api: Api) -> None:
    head, length = form_of(2 * 1024**3)
    reader, writer = await asyncio.open_connection(urlsplit(api.url).hostname, urlsplit(api.url).port)
    writer.write(
        b"POST /submit-async HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % length + head
    )
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 413 ")
    writer.close()
    assert api.left_over() == []


async def test_an_upload_that_does_not_tell_its_length_is_counted(start_api: StartApi) -> None:
    api = await start_api(max_upload_bytes=10 * 1024**2)
    head, _ = form_of(0)
    block = bytes(64 * 1024)

    async def endless() -> AsyncIterator[bytes]:
        yield head
        for _ in range(4096):
            yield block

    before = peak_memory()
    answer = await api.client.post(
        "/submit-async", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    await refused(api, answer, 413, "too_large")
    assert peak_memory() - before < 64 * 1024**2


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_a_connection_that_is_cut_leaves_nothing(api: Api) -> None:
    head, length = form_of(50 * 1024**2)
    _, writer = await asyncio.open_connection(urlsplit(api.url).hostname, urlsplit(api.url).port)
    writer.write(
        b"POST /submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % length + head + bytes(5 * 1024**2)
    )
    await writer.drain()
    await eventually(lambda: any(path.stat().st_size > 2**20 for path in api.data.incoming.glob("*/upload.zip")))
    writer.transport.abort()
    await eventually(lambda: api.left_over() == [])
    assert (await api.client.get("/jobs")).json() == []


@pytest.mark.parametrize("path", ["/submit-async", "/jobs"])
async def test_a_client_that_hardly_sends_anything(api: Api, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr("ci_server.http.requests.STALL_SECONDS", 0.3)
    head, length = form_of(5_000_000)
    reader, writer = await asyncio.open_connection(urlsplit(api.url).hostname, urlsplit(api.url).port)
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % (path.encode(), length) + head
    )

    async def drip() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    # No further than that: what drips into the closed connection has it reset.
    answer = await asyncio.wait_for(reader.readuntil(b'"code": "request_timeout"'), PATIENCE)
    dripping.cancel()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert api.left_over() == []
    writer.transport.abort()


async def test_uploads_that_come_steadily_may_take_long(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_server.http.requests.STALL_SECONDS", 0.3)
    monkeypatch.setattr("ci_server.http.requests.LEAST_BYTES", 1000)
    boundary = b"--x"
    content = boundary + b'\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + PYTHON + b"\r\n--x--\r\n"
    sent = asyncio.Event()

    async def steady() -> AsyncIterator[bytes]:
        begun = time.monotonic()
        while time.monotonic() - begun < 0.6:
            yield b"\r\n" * 600  # What stands before the first boundary means nothing.
            await asyncio.sleep(0.05)
        yield content
        sent.set()

    answer = await api.client.post(
        "/submit-async", content=steady(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert sent.is_set()
    assert answer.status_code == 202, answer.text


async def test_a_client_that_leaves_while_its_upload_is_unpacked(api: Api) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number in range(20_000):
            archive.writestr(f"folder/{number}", b"")
    content = buffer.getvalue()
    head, length = form_of(len(content))
    tail = b"\r\n--x--\r\n"
    _, writer = await asyncio.open_connection(urlsplit(api.url).hostname, urlsplit(api.url).port)
    writer.write(
        b"POST /submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % (length + len(tail)) + head + content + tail
    )
    await writer.drain()
    await eventually(lambda: any(api.data.incoming.glob("*/1/workspace/folder/*")))
    writer.transport.abort()
    await eventually(lambda: api.left_over() == [])
    assert (await api.client.get("/jobs")).json() == []


async def test_a_submission_that_cannot_be_stored_leaves_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ci_server.uploads.staging.sync", lambda path: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    answer = await api.upload(PYTHON)
    await refused(api, answer, 503, "unavailable")
