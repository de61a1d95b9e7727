"""Wake-ups after commits of the same process."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from ci_common.ids import new_job_id
from ci_common.jobs import Job, NewJob
from ci_common.processes import this_process
from ci_common.times import utc_now
from ci_common.watch import FileWatcher, Subscription, Watched
from ci_persistence.commits import commits_to
from ci_persistence.sqlite import SQLiteJobRepository


async def test_everybody_is_told_in_their_own_loop(tmp_path: Path) -> None:
    told = asyncio.Event()

    async def elsewhere() -> None:
        commits_to(tmp_path / "jobs.db").tell()
        commits_to(tmp_path / "others.db").tell()

    with commits_to(tmp_path / "jobs.db").telling(told.set):
        commits_to(tmp_path / "jobs.db").tell()
        assert told.is_set()
        told.clear()
        await asyncio.to_thread(asyncio.run, elsewhere())
        await asyncio.wait_for(told.wait(), 20)
    told.clear()
    commits_to(tmp_path / "jobs.db").tell()
    assert not told.is_set()


async def test_another_repository_of_the_process_sees_a_commit_without_any_help_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    wait_for_change = Subscription.wait

    def deaf(self: FileWatcher, *_: tuple[Path, Watched]) -> Subscription:
        return Subscription(self, (), notified=True)

    async def wait(self: Subscription, timeout: float) -> bool:
        waits.append(timeout)
        return False if timeout == 0 else await wait_for_change(self, 3600)

    monkeypatch.setattr(FileWatcher, "subscribe", deaf)
    monkeypatch.setattr(Subscription, "wait", wait)
    (tmp_path / "link.db").symlink_to(tmp_path / "jobs.db")
    writing, reading = SQLiteJobRepository(tmp_path / "jobs.db"), SQLiteJobRepository(tmp_path / "link.db")
    await writing.open()
    await reading.open()
    async with aclosing(reading.changes()) as changes:
        await anext(changes)
        seeing = asyncio.ensure_future(anext(changes))
        while not waits:
            await asyncio.sleep(0)
        await writing.add(NewJob(id=new_job_id(), type="echo", submit_time=utc_now()), max_queued=1)
        await asyncio.wait_for(seeing, 20)
    await writing.close()
    await reading.close()


async def test_rows_are_shown_as_soon_as_they_are_durable(tmp_path: Path) -> None:
    shown: list[Job] = []
    writing, showing = (SQLiteJobRepository(tmp_path / "jobs.db") for _ in range(2))
    await writing.open()
    await showing.open()
    lease = await writing.acquire(this_process(), 60)
    assert lease is not None
    with showing.showing(shown.append):
        job = await writing.add(NewJob(id=new_job_id(), type="echo", submit_time=utc_now()), max_queued=9)
        changed = await writing.update(job, lease, error="x")
    await writing.update(changed, lease, error="y")
    assert [(row.id, row.version, row.error) for row in shown] == [(job.id, 0, None), (job.id, 1, "x")]
    await writing.close()
    await showing.close()
