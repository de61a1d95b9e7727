"""A pool that is at work."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_common.system.watch import FileWatcher
from ci_common.times import utc_now
from ci_controller.job_writer import JobWriter
from tests.helpers.fake_runtimes import Place
from tests.helpers.installation import leading


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with leading(tmp_path) as (storage, lease), FileWatcher() as watcher:
        made = Place(tmp_path, JobWriter(storage, lease, utc_now), watcher)
        running = asyncio.create_task(made.pool.run())
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    made.runtime.close()
