"""What those who follow the database are told of, and what they are shown instead."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from ci_common.jobs import Job, State
from ci_persistence.repository import Lease
from ci_persistence.sqlite import operations
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.jobs import NOON, PLENTY, bring, new_job
from tests.helpers.waiting import PATIENCE, eventually


@pytest.fixture
async def other(repository: SQLiteJobRepository, path: Path) -> AsyncIterator[SQLiteJobRepository]:
    """Another repository on the same database, as another process has it."""
    other = SQLiteJobRepository(path)
    await other.open()
    yield other
    await other.close()


async def test_rows_written_here_are_shown_and_not_told_of(repository: SQLiteJobRepository, lease: Lease) -> None:
    shown: list[Job] = []
    async with aclosing(repository.changes(shown.append)) as changes:
        await anext(changes)
        told = asyncio.ensure_future(anext(changes))
        job = await repository.add(new_job(), max_queued=PLENTY)
        cancelled = await repository.request_cancel(job.id, NOON)
        changed = await repository.update(cancelled, lease, error="x")
        await repository.renew(lease, 60)
        assert shown == [job, cancelled, changed]
        assert not told.done()
        await repository.delete([(await bring(repository, lease, changed, State.COMPLETED)).id])
        await asyncio.wait_for(told, PATIENCE)


async def test_of_others_commits_all_are_told_however_much_is_written_here(
    repository: SQLiteJobRepository, other: SQLiteJobRepository, lease: Lease
) -> None:
    job = await repository.add(new_job(), max_queued=PLENTY)
    is_over = False

    async def write() -> None:
        written = job
        while not is_over:
            written = await repository.update(written, lease, error="x")

    writing = asyncio.create_task(write())
    async with aclosing(repository.changes(lambda _: None)) as changes, asyncio.timeout(PATIENCE):
        await anext(changes)
        for _ in range(5):
            theirs = await other.add(new_job(), max_queued=PLENTY)
            while theirs.id not in {job.id for job in await repository.queued()}:
                await anext(changes)
    is_over = True
    await writing


async def test_a_row_is_shown_although_whoever_wrote_it_has_been_cancelled(
    repository: SQLiteJobRepository, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await repository.add(new_job(), max_queued=PLENTY)
    begun, release, shown = threading.Event(), threading.Event(), asyncio.Queue[Job]()
    update = operations.update

    def slow(*args: object, **kwargs: object) -> Job:
        begun.set()
        release.wait(PATIENCE)
        return update(*args, **kwargs)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(operations, "update", slow)
    async with aclosing(repository.changes(shown.put_nowait)) as changes:
        await anext(changes)
        writing = asyncio.create_task(repository.update(job, lease, error="x"))
        await eventually(begun.is_set)
        writing.cancel()
        await asyncio.wait({writing})
        release.set()
        assert (await asyncio.wait_for(shown.get(), PATIENCE)).error == "x"


async def test_nothing_is_looked_for_while_nobody_follows(repository: SQLiteJobRepository) -> None:
    before = asyncio.all_tasks()
    async with aclosing(repository.changes()) as one, aclosing(repository.changes()) as another:
        await anext(one)
        await anext(another)
        assert len(asyncio.all_tasks() - before) == 1, "one look serves both"
    assert asyncio.all_tasks() == before
