"""Streams through Debian's nginx: live with its default buffering, and whole whatever becomes of it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ci_client.aio import CiClient
from ci_client.events import complete_event_of
from ci_selftest.faults.held_ports import held_port
from tests.e2e.conftest import Starter
from tests.e2e.nginx import Nginx
from tests.helpers.http import Seen, events_of
from tests.helpers.markdown import Page
from tests.helpers.service import Service, finished, says, until, zipped
from tests.helpers.waiting import eventually

AWAIT = 'until [ -e "{flag}" ]; do sleep 0.02; done'
LINE = "a line that flows through a proxy"
FLOOD = f"yes '{LINE}' | head -n 400000"


@pytest.fixture
def runtime() -> str:
    """What runs the jobs is all the same to a proxy."""
    return "process"


@pytest.fixture
async def proxy(service: Service, tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Nginx]]]:
    """A function that starts nginx before the service, with these directives."""
    with ExitStack() as stack:

        async def start(directives: str = "") -> Nginx:
            port = stack.enter_context(held_port())
            nginx = Nginx(tmp_path / f"nginx-{port}", port, service.url, directives)
            stack.callback(nginx.kill)
            await nginx.start()
            return nginx

        yield start


def documented() -> str:
    """The directives that the documentation gives, but the address."""
    (block,) = (block for block in Page("docs/operations.md").blocks() if block.language == "nginx")
    lines = [line for line in block.text.splitlines() if line.startswith(" ") and "proxy_pass" not in line]
    assert len(lines) == 8
    return "\n".join(lines)


async def read_as_a_browser_does(url: str, job_id: str) -> Seen:
    """Read a job's stream as EventSource does: come back with the last id until the end."""
    seen = Seen()
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        while not seen.completed:
            headers = {"Last-Event-ID": seen.last_id} if seen.last_id else {}
            path = f"/jobs/{job_id}/stream?from_beginning=true"
            try:
                async with http.stream("GET", path, headers=headers) as response:
                    if response.status_code == 204:
                        seen.take(complete_event_of((await http.get(f"/jobs/{job_id}")).json()))
                    else:
                        async for _ in events_of(response, seen):
                            pass
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    return seen


def job_of(*commands: str) -> dict[str, Any]:
    return {"image": "none", "command": "; ".join(commands)}


async def started_job(client: CiClient, tmp_path: Path, *parts: str) -> tuple[str, list[Path]]:
    """Submit a job whose parts wait for a file each, but for the first; return its id and the files."""
    flags = [tmp_path / f"go-{number}" for number in range(1, len(parts))]
    commands = [parts[0]]
    for flag, part in zip(flags, parts[1:], strict=True):
        commands += [AWAIT.format(flag=flag), part]
    return await client.create_job(job_of(*commands)), flags


@pytest.mark.parametrize("settings", ["defaults", "documented"])
async def test_lines_come_at_once(proxy, tmp_path: Path, settings: str) -> None:
    nginx = await proxy("" if settings == "defaults" else documented())
    async with CiClient(nginx.url) as client:
        job_id, (flag,) = await started_job(client, tmp_path, "echo one", "echo two")
        browser = asyncio.create_task(read_as_a_browser_does(nginx.url, job_id))
        await until(client, job_id, says("one"), within=20)
        flag.touch()
        job = await finished(client, job_id)
    assert job["conclusion"] == "succeeded"
    assert (await browser).exact == b"one\ntwo\n"


async def test_a_submission_streams_through_it(proxy) -> None:
    nginx = await proxy(documented())
    archive = zipped({"ci.yaml": "steps: [{run: echo one; sleep 1; echo two}]", "data": bytes(3_000_000)})
    seen = Seen()
    async with (
        httpx.AsyncClient(base_url=nginx.url, timeout=60, trust_env=False) as http,
        http.stream("POST", "/submit-stream", files={"file": ("p.zip", archive)}) as response,
    ):
        async for _ in events_of(response, seen):
            pass
    assert seen.exact == b"one\ntwo\n"
    assert seen.events[-1]["success"] is True


async def test_it_stores_nothing_for_a_slow_reader(proxy, service: Service) -> None:
    """As it does with answers that do not tell it otherwise, up to 1 GiB for each."""
    nginx = await proxy()
    async with CiClient(service.url) as direct:
        job_id = await direct.create_job(job_of(FLOOD, FLOOD))
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(nginx.url).port, limit=1024)
        writer.write(b"GET /jobs/%s/stream?from_beginning=true HTTP/1.0\r\n\r\n" % job_id.encode())
        await reader.readuntil(b"\r\n\r\n")
        job = await finished(direct, job_id)
        text, digest = b"", hashlib.sha256()
        while chunk := await reader.read(1024**2):
            assert nginx.stored() == []
            *lines, text = (text + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b'data: {"type":"log"'):
                    digest.update(json.loads(line[6:])["data"].encode())
        writer.close()
    assert digest.hexdigest() == job["log_sha256"]


async def test_readers_outlive_it(proxy, service: Service, tmp_path: Path) -> None:
    nginx = await proxy()
    async with CiClient(service.url) as direct, CiClient(nginx.url) as client:
        job_id, flags = await started_job(direct, tmp_path, "echo begin", FLOOD, FLOOD, "echo end")
        browser = asyncio.create_task(read_as_a_browser_does(nginx.url, job_id))
        digest, size = hashlib.sha256(), 0

        async def read() -> dict[str, Any]:
            nonlocal size
            async for event in client.stream(job_id):
                if event["type"] == "log":
                    digest.update(event["data"].encode())
                    size = event["offset"]
                elif event["type"] == "complete":
                    return event
            raise AssertionError("the stream has ended without a verdict")

        reading = asyncio.create_task(read())
        await eventually(lambda: size >= 6, "the first line")
        flags[0].touch()
        await eventually(lambda: size > 1_000_000, "the middle of a flood")
        nginx.kill()
        flags[1].touch()
        lines = 6 + 2 * 400_000 * (len(LINE) + 1)
        await eventually(lambda: _logged(direct, job_id, lines), "what is written while no reader is connected")
        await nginx.start()
        await eventually(lambda: size == lines, "all of it, live again")
        flags[2].touch()
        complete = await asyncio.wait_for(reading, 60)
        seen = await asyncio.wait_for(browser, 60)
    assert digest.hexdigest() == complete["log_sha256"] == hashlib.sha256(seen.exact).hexdigest()
    assert size == complete["log_bytes"] == lines + 4


async def _logged(client: CiClient, job_id: str, size: int) -> bool:
    return bool((await client.get_job(job_id))["log_bytes"] == size)


async def test_quiet_streams_that_it_cuts_are_taken_up_again(proxy, tmp_path: Path) -> None:
    """A read timeout that is shorter than the comments that keep a stream alive."""
    nginx = await proxy("proxy_read_timeout 1s;")
    async with CiClient(nginx.url) as client:
        job_id, (flag,) = await started_job(client, tmp_path, "echo one", "echo two")
        browser = asyncio.create_task(read_as_a_browser_does(nginx.url, job_id))
        reading = asyncio.create_task(until(client, job_id, lambda event: event["type"] == "complete"))
        await asyncio.wait({browser}, timeout=2.5)
        assert not browser.done()
        flag.touch()
        events = await reading
    assert "".join(event["data"] for event in events if event["type"] == "log") == "one\ntwo\n"
    assert (await browser).exact == b"one\ntwo\n"


async def test_the_clients_address_arrives(start: Starter, tmp_path: Path) -> None:
    service = start(CI_TRUSTED_PROXIES="127.0.0.1")
    with ExitStack() as stack:
        nginx = Nginx(tmp_path / "nginx", stack.enter_context(held_port()), service.url, documented())
        stack.callback(nginx.kill)
        await nginx.start()
        async with httpx.AsyncClient(base_url=nginx.url, trust_env=False) as http:
            schema = (await http.get("/schema/spec.json")).json()
            assert schema["$id"] == f"{nginx.url}/schema/spec.json", "the host that the client used"
            assert (await http.post("/jobs", json=job_of("true"))).status_code == 202
            # Here the client has the address of a proxy, so that the one before it counts.
            elsewhere = {"x-forwarded-for": "192.0.2.7", "x-forwarded-host": "evil.example"}
            refused = await http.post("/jobs", json=job_of("true"), headers=elsewhere)
            assert (refused.status_code, refused.json()["code"]) == (401, "key_missing")
