"""How streams learn of changes of their jobs' rows."""

import asyncio
from pathlib import Path

import pytest

from ci_common.jobs import NewJob, new_job_id
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_persistence.sqlite.repository import SQLiteJobRepository
from ci_server.streaming.row_watcher import JobFeed
from tests.helpers.waiting import PATIENCE


async def test_a_row_that_this_process_has_written_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = SQLiteJobRepository(tmp_path / "jobs.db")
    await repository.open()
    lease = await repository.acquire(this_process(), 60)
    assert lease is not None
    job = await repository.add(NewJob(id=new_job_id(), type="echo", submit_time=utc_now()), max_queued=9)
    looked = asyncio.Event()
    feed, woken = JobFeed(repository), asyncio.Event()
    look, looks = feed._look, 0

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await look()
        looked.set()

    monkeypatch.setattr(feed, "_look", counted)
    running = asyncio.create_task(feed.run())
    try:
        async with feed.follow(job, woken.set) as follower:
            await asyncio.wait_for(looked.wait(), PATIENCE)
            woken.clear()
            await repository.update(job, lease, error="x")
            await asyncio.wait_for(woken.wait(), PATIENCE)
            assert (follower.job.version, follower.job.error) == (1, "x")
            assert looks == 1, "only that with which it began"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await repository.close()
