"""What waits together is written together, and each of it succeeds, fails or is given up alone."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import JobNotFound, NoRoom, QueueFull
from ci_common.jobs import Job
from ci_common.system.disk import Ballast
from ci_common.system.watch import FileWatcher
from ci_persistence.sqlite import connections
from ci_persistence.sqlite.change_notifier import ChangeNotifier
from ci_persistence.sqlite.connections import Connection, Writer
from ci_persistence.sqlite.operations import data_version
from ci_persistence.sqlite.queries import CONFIGURE_WRITER
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.jobs import PLENTY, new_job
from tests.helpers.waiting import eventually


def notifier_of(connection: Connection) -> ChangeNotifier:
    """Return a notifier without listeners."""
    return ChangeNotifier(partial(connection.run, data_version), FileWatcher().subscribe)


class TestWriter:
    async def test_what_waits_together_shares_a_commit_and_fails_alone(self, path: Path) -> None:
        statements: list[str] = []
        connection = Connection(path, busy_timeout=1, setup=CONFIGURE_WRITER)
        await connection.open()
        writer = Writer(path, connection, notifier_of(connection))
        release = threading.Event()

        def prepare(connection: sqlite3.Connection) -> None:
            connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
            connection.set_trace_callback(statements.append)

        def wait_for_release(_: sqlite3.Connection) -> bool:
            return release.wait(60)

        def insert(number: int, error: Exception | None) -> connections.Query[int]:
            def operation(connection: sqlite3.Connection) -> int:
                if error:
                    raise error
                connection.execute("INSERT INTO t VALUES (?)", [number])
                return number

            return operation

        def stored(connection: sqlite3.Connection) -> list[int]:
            return [row["a"] for row in connection.execute("SELECT a FROM t")]

        await writer.run(prepare)
        statements.clear()
        first = asyncio.create_task(writer.run(wait_for_release))
        await eventually(lambda: "BEGIN IMMEDIATE" in statements)
        errors = [None, QueueFull("full"), None, KeyError("bug"), JobNotFound("none"), None]
        rest = [asyncio.create_task(writer.run(insert(n, error))) for n, error in enumerate(errors)]
        rest.append(asyncio.create_task(writer.run(insert(0, None))))
        await asyncio.sleep(0)
        release.set()
        assert await first
        outcomes = await asyncio.gather(*rest, return_exceptions=True)
        assert outcomes[:6] == [0, errors[1], 2, errors[3], errors[4], 5]
        assert isinstance(outcomes[6], ValueError)
        assert statements.count("COMMIT") == 2
        assert await connection.run(stored) == [0, 2, 5]
        await writer.close()

    async def test_jobs_that_are_stored_together_fail_alone(self, path: Path) -> None:
        repository = SQLiteJobRepository(path)
        await repository.open()
        jobs = [new_job() for _ in range(7)]
        await repository.add(jobs[0], max_queued=PLENTY)
        adding = (repository.add(job, max_queued=PLENTY) for job in [*jobs[1:6], jobs[0], jobs[6]])
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        expected = [Job] * 5 + [ValueError, Job]
        assert [type(outcome) for outcome in outcomes] == expected, "there is a job of the sixth one's id"
        assert [job.id for job in await repository.queued()] == [job.id for job in jobs]
        assert (await repository.metrics()).submitted == 7
        await repository.close()

    async def test_of_jobs_that_are_stored_together_the_first_get_the_room(self, path: Path) -> None:
        repository = SQLiteJobRepository(path)
        await repository.open()
        jobs = [new_job() for _ in range(7)]
        adding = (repository.add(job, max_queued=5) for job in jobs)
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Job] * 5 + [QueueFull] * 2
        assert [job.id for job in await repository.queued()] == [job.id for job in jobs[:5]]
        await repository.close()

    async def test_what_is_to_be_certain_is_told_of_although_its_caller_was_cancelled(self, path: Path) -> None:
        connection = Connection(path, busy_timeout=1, setup=CONFIGURE_WRITER)
        await connection.open()
        writer = Writer(path, connection, notifier_of(connection))
        begun, release = threading.Event(), threading.Event()

        def operation(_: sqlite3.Connection) -> str:
            begun.set()
            release.wait(60)
            return "stored"

        running = asyncio.create_task(writer.run(operation, certain=True))
        await eventually(begun.is_set)
        for _ in range(2):
            running.cancel()
            await asyncio.sleep(0)
        release.set()
        assert await running == "stored"
        await writer.close()

    async def test_an_operation_cancelled_while_it_waits_is_left_out(self, path: Path) -> None:
        repository = SQLiteJobRepository(path)
        await repository.open()
        first, *rest = (asyncio.create_task(repository.add(new_job(), max_queued=PLENTY)) for _ in range(3))
        await asyncio.sleep(0)
        rest[0].cancel()
        added = [await first, await rest[1]]
        assert all(isinstance(job, Job) for job in added)
        assert len(await repository.queued()) == 2
        await repository.close()


class FullDisk(Connection):
    """A connection to a database on a disk that has no room but for what is kept back."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, busy_timeout=1, setup=CONFIGURE_WRITER)
        self.ballast = Ballast(path)
        self.is_full = False

    async def run(self, query: connections.Query[Any]) -> Any:
        if self.is_full and self.ballast.is_kept():
            raise NoRoom("full")
        return await super().run(query)


@pytest.fixture
async def full_disk(path: Path) -> AsyncIterator[tuple[FullDisk, Writer]]:
    connection = FullDisk(path)
    await connection.open()
    writer = Writer(path, connection, notifier_of(connection))
    await writer.run(lambda connection: connection.execute("CREATE TABLE t (a INTEGER)"))
    await eventually(connection.ballast.is_kept, "room is kept back after the first commit")
    connection.is_full = True
    yield connection, writer
    await writer.close()


def insert(number: int) -> connections.Query[int]:
    return lambda connection: connection.execute("INSERT INTO t VALUES (?)", [number]).rowcount


async def test_a_full_disk_takes_what_makes_room_and_no_submission(full_disk: tuple[FullDisk, Writer]) -> None:
    connection, writer = full_disk
    outcomes = await asyncio.gather(
        writer.run(insert(0), vital=False), writer.run(insert(1)), writer.run(insert(2)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [NoRoom, int, int]
    assert await connection.run(lambda connection: [row["a"] for row in connection.execute("SELECT a FROM t")]) == [
        1,
        2,
    ]
    assert not connection.ballast.is_kept()


async def test_a_submission_alone_leaves_it_alone(full_disk: tuple[FullDisk, Writer]) -> None:
    connection, writer = full_disk
    with pytest.raises(NoRoom):
        await writer.run(insert(0), vital=False)
    assert connection.ballast.is_kept()
