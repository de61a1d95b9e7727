"""What those who follow the database are told of, and what they are shown instead."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from ci_common.jobs import Job, State
from ci_persistence.database import Operation, Session
from ci_persistence.open import sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores import jobs
from ci_persistence.stores.leases import Lease
from tests.helpers.jobs import NOON, PLENTY, bring, new_job
from tests.helpers.waiting import PATIENCE, eventually


@pytest.fixture
async def other(storage: Storage, path: Path) -> AsyncIterator[Storage]:
    """Another storage on the same database, as another process has it."""
    other = sqlite_storage(path)
    await other.open()
    yield other
    await other.close()


async def test_rows_written_here_are_shown_and_not_told_of(storage: Storage, lease: Lease) -> None:
    shown: list[Job] = []
    async with aclosing(storage.jobs.changes(shown.append)) as changes:
        await anext(changes)
        told = asyncio.ensure_future(anext(changes))
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        cancelled = await storage.jobs.request_cancel(job.id, NOON)
        changed = await storage.jobs.update(cancelled, lease, error="x")
        await storage.leases.renew(lease, 60)
        assert shown == [job, cancelled, changed]
        assert not told.done()
        await storage.retention.delete([(await bring(storage, lease, changed, State.COMPLETED)).id])
        await asyncio.wait_for(told, PATIENCE)


async def test_of_others_commits_all_are_told_however_much_is_written_here(
    storage: Storage, other: Storage, lease: Lease
) -> None:
    job = await storage.jobs.add(new_job(), max_queued=PLENTY)
    is_over = False

    async def write() -> None:
        written = job
        while not is_over:
            written = await storage.jobs.update(written, lease, error="x")

    writing = asyncio.create_task(write())
    async with aclosing(storage.jobs.changes(lambda _: None)) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        for _ in range(5):
            theirs = await other.jobs.add(new_job(), max_queued=PLENTY)
            while theirs.id not in {job.id for job in await storage.queue.queued()}:
                await anext(changes)
    is_over = True
    await writing


async def test_a_row_is_shown_although_whoever_wrote_it_has_been_cancelled(
    storage: Storage, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await storage.jobs.add(new_job(), max_queued=PLENTY)
    begun, release, shown = threading.Event(), threading.Event(), asyncio.Queue[Job]()
    updating = jobs._updating

    def slowly_updating(*arguments: Any) -> Operation[Job]:
        async def update(session: Session) -> Job:
            begun.set()
            release.wait(PATIENCE)
            return await updating(*arguments)(session)

        return update

    monkeypatch.setattr(jobs, "_updating", slowly_updating)
    async with aclosing(storage.jobs.changes(shown.put_nowait)) as changes:
        await anext(changes)
        writing = asyncio.create_task(storage.jobs.update(job, lease, error="x"))
        await eventually(begun.is_set)
        writing.cancel()
        await asyncio.wait({writing})
        release.set()
        assert (await asyncio.wait_for(shown.get(), PATIENCE)).error == "x"


async def test_nothing_is_looked_for_while_nobody_follows(storage: Storage) -> None:
    before = asyncio.all_tasks()
    async with aclosing(storage.jobs.changes()) as one, aclosing(storage.jobs.changes()) as another:
        await anext(one)
        await anext(another)
        assert len(asyncio.all_tasks() - before) == 1, "one look serves both"
    assert asyncio.all_tasks() == before
