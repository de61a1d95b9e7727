"""How streams learn of changes of their jobs' rows."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from ci_common.jobs import Job, NewJob, new_job_id
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_persistence.open import sqlite_storage
from ci_server.streaming.row_watcher import RowWatcher
from tests.helpers.waiting import PATIENCE, eventually


async def test_a_row_that_this_process_has_written_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = sqlite_storage(tmp_path / "jobs.db")
    await storage.open()
    lease = await storage.leases.acquire(this_process(), 60)
    assert lease is not None
    job = await storage.jobs.add(NewJob(id=new_job_id(), type="echo", submit_time=utc_now()), max_queued=9)
    reads, get_many = 0, storage.jobs.get_many

    async def counted(job_ids: Iterable[str]) -> dict[str, Job]:
        nonlocal reads
        jobs = await get_many(job_ids)
        reads += 1
        return jobs

    monkeypatch.setattr(storage.jobs, "get_many", counted)
    rows, woken = RowWatcher(storage.jobs), asyncio.Event()
    running = asyncio.create_task(rows.run())
    try:
        async with rows.follow(job, woken.set) as follower:
            await eventually(lambda: reads == 2, "the follower and the watcher have each read the row once")
            woken.clear()
            await storage.jobs.update(job, lease, error="x")
            await asyncio.wait_for(woken.wait(), PATIENCE)
            assert (follower.job.version, follower.job.error) == (1, "x")
            assert reads == 2
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await storage.close()
