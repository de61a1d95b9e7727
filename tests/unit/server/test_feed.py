"""How streams learn of changes of their jobs' rows."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from ci_common.ids import new_job_id
from ci_common.jobs import NewJob
from ci_common.processes import this_process
from ci_common.times import utc_now
from ci_persistence.sqlite import SQLiteJobRepository
from ci_server.feed import JobFeed


async def test_a_row_that_this_process_has_written_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = (SQLiteJobRepository(tmp_path / "jobs.db") for _ in range(2))
    await reading.open()
    await writing.open()
    lease = await writing.acquire(this_process(), 60)
    assert lease is not None
    job = await writing.add(NewJob(id=new_job_id(), type="echo", submit_time=utc_now()), max_queued=9)
    looking = asyncio.Event()

    async def no_changes() -> AsyncGenerator[None, None]:
        looking.set()
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(reading, "changes", no_changes)
    feed, woken = JobFeed(reading), asyncio.Event()
    running = asyncio.create_task(feed.run())
    try:
        async with feed.follow(job, woken.set) as follower:
            await asyncio.wait_for(looking.wait(), 20)
            woken.clear()
            await writing.update(job, lease, error="x")
            await asyncio.wait_for(woken.wait(), 20)
            assert (follower.job.version, follower.job.error) == (1, "x")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await reading.close()
        await writing.close()
