"""SIGTERM to everything at once while it is busy: all leave soon and in order, and after a new start all is true."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ClientError
from ci_client.exits import EX_INTERRUPTED
from ci_common.run_directory.layout import KEPT, DataDirectory
from ci_common.settings import Settings
from tests.e2e.conftest import Starter
from tests.e2e.test_deaths import nothing_left
from tests.helpers.installation import ROOT
from tests.helpers.service import Service, finished, says, text_of, until
from tests.helpers.waiting import PATIENCE, eventually

WAITING = "echo up; until [ -e go ]; do sleep 0.1; done; echo down; exit 7"
"""Seconds for two seconds' work on a loaded machine."""


@pytest.fixture
def environment(environment: dict[str, str], port: str) -> dict[str, str]:
    """With a port that stays, so that the service is found again."""
    return environment | {"MAX_CONCURRENCY": "3", "PORT": port}


def command(environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    """Start `ci` with these words."""
    return subprocess.Popen(
        [sys.executable, "-m", "ci_cli", *words],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@asynccontextmanager
async def half_an_upload(url: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(
        b"POST /submit-async HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 9000000\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n' + bytes(100_000)
    )
    try:
        yield reader
    finally:
        writer.transport.abort()


async def submit_without_end(client: CiClient, image: str, acknowledged: dict[str, int]) -> None:
    """Submit job after job until the server goes, and note what it has accepted."""
    for code in range(30):
        request = {"image": image, "command": f"echo begin {code}; sleep 0.3; echo end {code}; exit {code}"}
        try:
            acknowledged[await client.create_job(request)] = code
        except ClientError:
            return
        await asyncio.sleep(0.05)


async def test_sigterm_to_everything_at_once(
    start: Starter, environment: dict[str, str], runtime: str, shell_image: str, tmp_path: Path
) -> None:
    service = start(CI_CONTROLLER="off")
    controller = Service(environment, "controller")
    controller.launch()
    acknowledged: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        stack.callback(controller.close)
        client = await stack.enter_async_context(CiClient(service.url, busy_seconds=0))
        slow = await client.create_job({"image": shell_image, "command": WAITING})
        await until(client, slow, says("up"))
        followers = [
            command(environment, *words, "--server", service.url)
            for words in (["wait", slow, "--all"], ["logs", "--follow", slow])
        ]
        for follower in followers:
            stack.callback(follower.communicate)
            stack.callback(follower.kill)
            assert follower.stdout is not None
            assert await asyncio.to_thread(follower.stdout.readline) == b"up\n"
        uploads = [await stack.enter_async_context(half_an_upload(service.url)) for _ in range(3)]
        submitting = asyncio.create_task(submit_without_end(client, shell_image, acknowledged))
        streaming = [asyncio.create_task(_read(service.url, slow)) for _ in range(10)]
        await eventually(lambda: len(acknowledged) >= 8, "a queue")
        await finished(client, min(acknowledged))

        for process in (service.process, controller.process, *followers):
            process.send_signal(signal.SIGTERM)
        statuses = [
            await asyncio.to_thread(process.wait, PATIENCE)
            for process in (service.process, controller.process, *followers)
        ]
        assert statuses == [0, 0, EX_INTERRUPTED, EX_INTERRUPTED]
        said = "".join([*service.said, *controller.said, *(f.stderr.read().decode() for f in followers if f.stderr)])
        assert "Traceback" not in said, said
        assert [(await upload.read()).split(b"\r\n")[0] for upload in uploads] == [
            b"HTTP/1.1 503 Service Unavailable"
        ] * 3
        await submitting

        data = DataDirectory(Settings.from_env(environment).data_path)
        assert list(data.incoming.iterdir()) == [], "of an upload that was not finished nothing stays"
        service.start()
        controller.launch()
        (data.run(slow, 1).workspace / "go").touch()
        events = await asyncio.gather(*streaming)
        assert {text for text, _ in events} == {"up\ndown\n"}, "readers go on where they were"
        assert {code for _, code in events} == {7}
        for job_id, code in acknowledged.items():
            job = await finished(client, job_id)
            assert job["exit_code"] == code, job
            assert await text_of(client, job_id) == f"begin {code}\nend {code}\n"
        for job in await client.list_jobs(limit=1000):  # Also what was taken and could not be acknowledged any more.
            assert (await finished(client, job["job_id"]))["conclusion"] in ("succeeded", "failed")
        await eventually(lambda: nothing_left_on_disk(data), "only logs are left")
        assert await asyncio.to_thread(service.stop) == 0
        assert await asyncio.to_thread(controller.stop) == 0
    await eventually(lambda: nothing_left(environment, runtime), "nothing is left behind")


def nothing_left_on_disk(data: DataDirectory) -> bool:
    left = {path.name for path in data.jobs.glob("*/*/*")}
    return left <= KEPT and list(data.incoming.iterdir()) == []


async def _read(url: str, job_id: str) -> tuple[str, int]:
    """Return a job's log and exit code as one reader sees them, across the server's restart."""
    text = ""
    async with CiClient(url) as client:
        async for event in client.stream(job_id):
            if event["type"] == "log":
                text += event["data"]
            elif event["type"] == "complete":
                return text, event["exit_code"]
    raise AssertionError("the stream has ended without a verdict")
