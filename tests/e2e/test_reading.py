"""The readers of the real service: gone with it, in whatever way it goes."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ci_common.settings import Settings
from ci_common.system.processes import state_and_start_of
from tests.e2e.conftest import Starter
from tests.helpers.service import Service, zipped
from tests.helpers.untrusted import kill_readers, readers_of
from tests.helpers.waiting import PATIENCE, eventually

STOP_SECONDS = 2.0
LOADED_MACHINE = 8.0


@pytest.fixture
def runtime() -> str:
    """No job is run."""
    return "process"


@pytest.fixture
def data(environment: dict[str, str]) -> Path:
    return Settings.from_env(environment).data_path


@asynccontextmanager
async def hanging_upload(service: Service, data: Path) -> AsyncIterator[list[int]]:
    """Send an upload whose reader hangs, since it is stopped; yield the readers."""
    large = zipped({f"folder/{number}": "" for number in range(20_000)})
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE, trust_env=False) as client:
        upload = asyncio.create_task(client.post("/submit-async", files={"file": ("p.zip", large)}))
        await eventually(lambda: list(data.glob("incoming/*/1/workspace/folder/*"))[:1])
        readers = readers_of(service.process.pid)
        for pid in readers:
            os.kill(pid, signal.SIGSTOP)
        yield readers
        await asyncio.gather(upload, return_exceptions=True)


async def test_sigterm_ends_the_service_whatever_a_reader_does(start: Starter, data: Path) -> None:
    service = start()
    async with hanging_upload(service, data) as readers:
        begun = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(service.process.wait, PATIENCE) == 0
        assert time.monotonic() - begun < STOP_SECONDS + LOADED_MACHINE
        assert not any(state_and_start_of(pid) for pid in readers)
    assert "Traceback" not in "".join(service.said)


async def test_readers_die_with_a_service_that_is_killed(start: Starter, data: Path) -> None:
    service = start()
    async with hanging_upload(service, data) as readers:
        await asyncio.to_thread(service.kill)
        await eventually(lambda: not any(state_and_start_of(pid) for pid in readers))


async def test_idle_readers_die_with_a_service_that_is_killed(start: Starter) -> None:
    service = start()
    readers = await eventually(lambda: readers_of(service.process.pid))
    await asyncio.to_thread(service.kill)
    await eventually(lambda: not any(state_and_start_of(pid) for pid in readers))


async def test_readers_that_are_killed_are_replaced(start: Starter) -> None:
    service = start(CI_CONTROLLER="off")
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE, trust_env=False) as client:
        for _ in range(3):
            kill_readers(await eventually(lambda: readers_of(service.process.pid)))
            answer = await client.post("/submit-async", files={"file": ("p.zip", zipped({"test_a.py": ""}))})
            assert answer.status_code == 202, answer.text
