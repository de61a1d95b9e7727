"""What waits together is written together, and each of it succeeds, fails or is given up alone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ci_common.errors import NoRoom, QueueFull
from ci_common.jobs import Job
from ci_common.system.disk import Ballast
from ci_common.system.watch import FileWatcher
from ci_persistence.changes import ChangeNotifier
from ci_persistence.database import Operation, Session
from ci_persistence.dialects import Statement
from ci_persistence.group_writer import GroupWriter
from ci_persistence.open import sqlite_storage
from ci_persistence.sqlite import connections
from ci_persistence.sqlite.commit_watch import WalWatch
from ci_persistence.sqlite.connections import Connection
from ci_persistence.sqlite.database import Transactions
from ci_persistence.sqlite.statements import CONFIGURE_WRITER
from tests.helpers.jobs import PLENTY, new_job
from tests.helpers.waiting import eventually


class NoWatch:
    """A watch that finds nothing."""

    async def begin(self) -> None:
        pass

    async def run(self, notify: Callable[[], None]) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError


def writer_of(path: Path, connection: Connection) -> GroupWriter:
    """Return a writer without listeners."""
    watch = WalWatch(partial(connection.run, lambda _: 0), FileWatcher().subscribe)
    transactions = Transactions(path, connection, watch)
    return GroupWriter(transactions.commit, ChangeNotifier(NoWatch()), transactions.reserve_space)


MAKE_TABLE = Statement("CREATE TABLE t (a INTEGER PRIMARY KEY)")
INSERT = Statement("INSERT INTO t VALUES (:a)")
SELECT = Statement("SELECT a FROM t ORDER BY a")


def inserting(*numbers: int, error: Exception | None = None) -> Operation[int]:
    """Return an operation that inserts numbers, and raises an error then."""

    async def operation(session: Session) -> int:
        for number in numbers:
            await session.execute(INSERT, {"a": number})
        if error:
            raise error
        return numbers[-1] if numbers else 0

    return operation


async def stored(connection: Connection) -> list[int]:
    return await connection.run(lambda connection: [row["a"] for row in connection.execute(SELECT.sqlite)])


class TestWriter:
    async def test_what_waits_together_shares_a_commit_and_fails_alone(self, path: Path) -> None:
        statements: list[str] = []
        connection = Connection(path, busy_timeout=1, setup=CONFIGURE_WRITER)
        await connection.open()
        writer = writer_of(path, connection)
        release = threading.Event()

        async def wait_for_release(_: Session) -> bool:
            return release.wait(60)

        await connection.run(lambda connection: connection.execute(MAKE_TABLE.sqlite))
        await connection.run(lambda connection: connection.set_trace_callback(statements.append))
        first = asyncio.create_task(writer.run(wait_for_release, certain=False, vital=True))
        await eventually(lambda: "BEGIN IMMEDIATE" in statements)
        operations = [
            inserting(0),
            inserting(error=QueueFull("full")),
            inserting(2),
            inserting(error=KeyError("bug")),
            inserting(5),
            inserting(0),
        ]
        rest = [asyncio.create_task(writer.run(one, certain=False, vital=True)) for one in operations]
        await asyncio.sleep(0)
        release.set()
        assert await first
        outcomes = await asyncio.gather(*rest, return_exceptions=True)
        assert [outcomes[0], outcomes[2], outcomes[4]] == [0, 2, 5]
        assert [type(outcomes[number]) for number in (1, 3, 5)] == [QueueFull, KeyError, ValueError]
        assert statements.count("COMMIT") == 2
        assert await stored(connection) == [0, 2, 5]
        await writer.finish()
        await connection.close()

    async def test_an_operation_that_fails_later_is_undone_alone(self, path: Path) -> None:
        connection = Connection(path, busy_timeout=1, setup=CONFIGURE_WRITER)
        await connection.open()
        writer = writer_of(path, connection)
        await connection.run(lambda connection: connection.execute(MAKE_TABLE.sqlite))
        operations = [inserting(0), inserting(1, error=KeyError("bug")), inserting(2, 0), inserting(3)]
        running = (writer.run(one, certain=False, vital=True) for one in operations)
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [int, KeyError, ValueError, int]
        assert await stored(connection) == [0, 3]
        await writer.finish()
        await connection.close()

    async def test_jobs_that_are_stored_together_fail_alone(self, path: Path) -> None:
        storage = sqlite_storage(path)
        await storage.open()
        jobs = [new_job() for _ in range(7)]
        await storage.jobs.add(jobs[0], max_queued=PLENTY)
        adding = (storage.jobs.add(job, max_queued=PLENTY) for job in [*jobs[1:6], jobs[0], jobs[6]])
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        expected = [Job] * 5 + [ValueError, Job]
        assert [type(outcome) for outcome in outcomes] == expected, "there is a job of the sixth one's id"
        assert [job.id for job in await storage.queue.queued()] == [job.id for job in jobs]
        assert (await storage.metrics.metrics()).submitted == 7
        await storage.close()

    async def test_of_jobs_that_are_stored_together_the_first_get_the_room(self, path: Path) -> None:
        storage = sqlite_storage(path)
        await storage.open()
        jobs = [new_job() for _ in range(7)]
        adding = (storage.jobs.add(job, max_queued=5) for job in jobs)
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Job] * 5 + [QueueFull] * 2
        assert [job.id for job in await storage.queue.queued()] == [job.id for job in jobs[:5]]
        await storage.close()

    async def test_what_is_to_be_certain_is_told_of_although_its_caller_was_cancelled(self, path: Path) -> None:
        connection = Connection(path, busy_timeout=1, setup=CONFIGURE_WRITER)
        await connection.open()
        writer = writer_of(path, connection)
        begun, release = threading.Event(), threading.Event()

        async def operation(_: Session) -> str:
            begun.set()
            release.wait(60)
            return "stored"

        running = asyncio.create_task(writer.run(operation, certain=True, vital=True))
        await eventually(begun.is_set)
        for _ in range(2):
            running.cancel()
            await asyncio.sleep(0)
        release.set()
        assert await running == "stored"
        await writer.finish()
        await connection.close()

    async def test_an_operation_cancelled_while_it_waits_is_left_out(self, path: Path) -> None:
        storage = sqlite_storage(path)
        await storage.open()
        first, *rest = (asyncio.create_task(storage.jobs.add(new_job(), max_queued=PLENTY)) for _ in range(3))
        await asyncio.sleep(0)
        rest[0].cancel()
        added = [await first, await rest[1]]
        assert all(isinstance(job, Job) for job in added)
        assert len(await storage.queue.queued()) == 2
        await storage.close()


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
async def full_disk(path: Path) -> AsyncIterator[tuple[FullDisk, GroupWriter]]:
    connection = FullDisk(path)
    await connection.open()
    writer = writer_of(path, connection)
    await connection.run(lambda connection: connection.execute(MAKE_TABLE.sqlite))
    await writer.run(inserting(), certain=False, vital=True)
    await eventually(connection.ballast.is_kept, "room is kept back after the first commit")
    connection.is_full = True
    yield connection, writer
    await writer.finish()
    await connection.close()


async def test_a_full_disk_takes_what_makes_room_and_no_submission(full_disk: tuple[FullDisk, GroupWriter]) -> None:
    connection, writer = full_disk
    vital = (False, True, True)
    running = (writer.run(inserting(number), certain=False, vital=is_vital) for number, is_vital in enumerate(vital))
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NoRoom, int, int]
    assert await stored(connection) == [1, 2]
    assert not connection.ballast.is_kept()


async def test_a_submission_alone_leaves_it_alone(full_disk: tuple[FullDisk, GroupWriter]) -> None:
    connection, writer = full_disk
    with pytest.raises(NoRoom):
        await writer.run(inserting(0), certain=False, vital=False)
    assert connection.ballast.is_kept()
