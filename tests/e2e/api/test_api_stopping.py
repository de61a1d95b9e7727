"""Leaving: within two seconds, whatever is open, without a trace in the log, and without harm to jobs."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from ci_common.settings import Settings
from ci_server.app import create_api
from ci_server.connections.serving import CannotListen, serve
from tests.helpers.http import Seen, events_of
from tests.helpers.played_api import Api, StartApi
from tests.helpers.waiting import PATIENCE, eventually

HEAD = (
    b"POST /submit-async HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b'Content-Length: 1000000\r\n\r\n--x\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
)
SERVE = """
import asyncio, sys
from ci_common.settings import Settings
from ci_server.app import create_app
from ci_server.connections.serving import serve
asyncio.run(serve(create_app(Settings.from_env()), port=int(sys.argv[1]), on_ready=print))
"""


async def test_a_cancelled_server_ends_streams_at_once_and_refuses_uploads(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    seen = Seen()
    host, port = urlsplit(api.url).hostname, urlsplit(api.url).port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(HEAD)
    await eventually(lambda: list(api.data.incoming.iterdir()))
    async with api.client.stream("GET", f"/jobs/{job_id}/stream") as response:
        events = events_of(response, seen)
        await anext(events)
        api.serving.cancel()
        async with asyncio.timeout(PATIENCE):
            async for _ in events:
                pass
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 503 ")
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(api.serving, PATIENCE)
    writer.close()
    assert api.left_over() == [api.data.job(job_id)]
    assert (await api.controller.storage.jobs.get(job_id)).state == "running"
    assert "Traceback" not in caplog.text
    with pytest.raises(httpx.ConnectError):
        await api.client.get("/health")


@pytest.mark.parametrize("what", ["stream?from_beginning=true", "log"])
async def test_a_reader_that_does_not_read_holds_up_nobody(
    api: Api, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    job_id = await api.submit()
    await api.controller.start(job_id)
    api.controller.write(job_id, b"x" * 20_000_000)
    host, port = urlsplit(api.url).hostname, urlsplit(api.url).port
    reader, writer = await asyncio.open_connection(host, port, limit=1024)
    writer.write(f"GET /jobs/{job_id}/{what} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"\r\n")
    api.serving.cancel()
    ended, _ = await asyncio.wait([api.serving], timeout=PATIENCE)
    assert ended
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    writer.close()


async def test_new_work_is_refused_while_the_server_leaves(api: Api) -> None:
    job_id = await api.submit()
    async with api.client.stream("GET", f"/jobs/{job_id}/stream") as response:
        lines = response.aiter_lines()
        await anext(lines)
        reader, writer = await asyncio.open_connection(urlsplit(api.url).hostname, urlsplit(api.url).port)
        body = b'{"type": "echo"}'
        writer.write(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        api.serving.cancel()
        async for _ in lines:
            pass
        writer.write(body)
        assert b" 503 " in await reader.readuntil(b"\r\n")
        assert b"retry-after" in (await reader.read()).lower()
        writer.close()
    jobs = await api.controller.storage.jobs.get_many([job_id])
    assert list(jobs) == [job_id]


async def test_servers_in_one_loop_do_not_disturb_each_other(start_api: StartApi) -> None:
    one, two = await start_api("one"), await start_api("two")
    job_id = await two.submit()
    seen = Seen()
    async with two.client.stream("GET", f"/jobs/{job_id}/stream") as response:
        events = events_of(response, seen)
        await anext(events)
        one.serving.cancel()
        await asyncio.wait([one.serving])
        await two.controller.start(job_id)
        assert (await anext(events))["type"] == "status"
        await two.controller.finish(job_id)
        async for _ in events:
            pass
    assert seen.completed


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = create_api(Settings(db_path=tmp_path / "x.db"))
        with pytest.raises(CannotListen, match="in use"):
            await serve(app, port=taken.getsockname()[1], on_ready=print, install_signal_handlers=False)


async def test_an_error_of_a_companion_arrives_at_whoever_serves(tmp_path: Path) -> None:
    @asynccontextmanager
    async def failing(*_: object) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            yield

    async def fail() -> None:
        raise RuntimeError("the controller has a bug")

    app = create_api(Settings(db_path=tmp_path / "x.db"), companions=[failing])
    with pytest.raises(ExceptionGroup) as caught:
        await serve(app, on_ready=lambda _: None, install_signal_handlers=False)
    assert caught.group_contains(RuntimeError, match="bug")


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    app = create_api(Settings(db_path=tmp_path / "x.db"))
    serving = asyncio.create_task(serve(app, uds=path, on_ready=ready.set_result, install_signal_handlers=False))
    assert await asyncio.wait_for(ready, 10) == f"unix:{path}"
    assert path.stat().st_mode & 0o777 == 0o600
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://x") as client:
        assert (await client.get("/ready")).status_code == 200
        with pytest.raises(CannotListen, match="already"):
            await serve(create_api(Settings(db_path=tmp_path / "y.db")), uds=path, on_ready=print)
    serving.cancel()
    await asyncio.wait([serving])
    assert not path.exists()


FAILING = """
import asyncio, contextlib, sys, uvicorn
import ci_server.app as root

@contextlib.asynccontextmanager
async def failing(*_):
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        yield

async def fail():
    await asyncio.sleep(0.2)
    raise RuntimeError("the controller has a bug")

create_app = root.create_app
root.create_app = lambda: create_app(companions=(failing,))
uvicorn.run(root.app, port=0)
"""


async def test_a_part_that_fails_ends_the_process(tmp_path: Path) -> None:
    environment = os.environ | {"CI_DB_PATH": str(tmp_path / "jobs.db"), "CI_CONTROLLER": "off"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FAILING, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, log = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode != 0
    assert b"the controller has a bug" in log


UVICORN = [
    sys.executable,
    "-m",
    "uvicorn",
    "ci_server.app:app",
    "--http",
    "ci_server.connections:Protocol",
    "--log-level",
    "info",
    "--port",
]


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ([sys.executable, "-c", SERVE], signal.SIGTERM),
        ([sys.executable, "-c", SERVE], signal.SIGINT),
        (UVICORN, signal.SIGTERM),
        ([*UVICORN[:-1], "--workers", "2", "--port"], signal.SIGTERM),
    ],
    ids=["serve-term", "serve-int", "uvicorn", "uvicorn-workers"],
)
async def test_a_process_that_is_told_to_stop(
    tmp_path: Path, port: str, command: list[str], number: signal.Signals
) -> None:
    """With a stream and an upload open, under our own server and under one that knows nothing of us."""
    environment = os.environ | {"CI_DB_PATH": str(tmp_path / "jobs.db"), "CI_CONTROLLER": "off"}
    process = await asyncio.create_subprocess_exec(
        *command, port, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:

        async def answers() -> bool:
            try:
                return (await client.get("/ready")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers)
        job_id = (await client.post("/jobs", json={"command": "x"})).json()["job_id"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        await eventually(lambda: list((tmp_path / "jobs.data/incoming").iterdir()))
        async with client.stream("GET", f"/jobs/{job_id}/stream") as response:
            lines = response.aiter_lines()
            await anext(lines)
            process.send_signal(number)
            async with asyncio.timeout(PATIENCE):
                async for _ in lines:
                    pass
        assert b" 503 " in await reader.readuntil(b"\r\n")
        writer.close()
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        log = (await process.stderr.read()).decode()
        status = await process.wait()
    assert status in ((0,) if command[1] == "-c" else (0, -number))
    assert "Traceback" not in log
    assert list((tmp_path / "jobs.data/incoming").iterdir()) == []
