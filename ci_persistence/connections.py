"""Connections: readers with a thread each, and one writer that puts what waits together into one commit.

This is the one door to aiosqlite, and the one place where SQLite's errors become the product's.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiosqlite

from ci_common.errors import Locked, Unavailable
from ci_persistence import queries

Result = TypeVar("Result")
Query = Callable[[aiosqlite.Connection], Awaitable[Result]]
"""What to do with a connection."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into Unavailable, or Locked, and a broken CHECK, trigger or UNIQUE into ValueError.

    Misuse of SQLite by ourselves stays what it is: a bug.
    """
    try:
        yield
    except sqlite3.IntegrityError as exc:
        raise ValueError(f"this would break the database's rules: {exc}") from exc
    except (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.NotSupportedError):
        raise
    except (sqlite3.Error, OSError) as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Locked(f"another program keeps the database {path} locked") from exc
        raise Unavailable(f"the database {path} cannot be used: {exc}") from exc


class Lane:
    """One connection, on which one query follows the other.

    `setup` is run when it connects; `busy_timeout` is how long, in seconds, to wait for another writer.
    """

    def __init__(self, path: Path, *, busy_timeout: float, setup: Iterable[str]) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._setup = tuple(setup)
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect. Raises Unavailable."""
        with translated(self._path):
            # The thread of a connection of aiosqlite's that cannot be made may outlive the event loop.
            sqlite3.connect(self._path).close()
            self._connection = await aiosqlite.connect(self._path, timeout=self._busy_timeout, isolation_level=None)
            self._connection.row_factory = aiosqlite.Row
            for statement in self._setup:
                await self._connection.execute_fetchall(statement)

    async def run(self, query: Query[Result]) -> Result:
        """Return what `query` returns, or raise what it raises. Raises Unavailable once closed.

        A query whose caller is cancelled is still carried to its end, so that it leaves no transaction open.
        """
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(query)))

    async def _in_turn(self, query: Query[Result]) -> Result:
        async with self._turn:
            if self._connection is None:
                raise Unavailable(f"the database {self._path} is closed")
            with translated(self._path):
                return await query(self._connection)

    async def close(self) -> None:
        """Finish what was begun and disconnect. May be called twice, and without `open`."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()


@dataclass(slots=True)
class _Waiting(Generic[Result]):
    """An operation that is to be carried out."""

    operation: Query[Result]
    outcome: asyncio.Future[Result]
    begun: bool = False


class Writer:
    """Puts operations that come while a commit is under way together into the next one.

    An operation writes with one statement at most, and fails before it or by it: so what fails has changed nothing.
    """

    def __init__(self, path: Path, lane: Lane) -> None:
        self._path = path
        self._lane = lane
        self._waiting: list[_Waiting[Any]] = []
        self._work: asyncio.Task[None] | None = None
        self.on_commit: Callable[[], None] = lambda: None
        """Called after every commit, in the event loop, before those who wait for it go on."""

    async def run(self, operation: Query[Result]) -> Result:
        """Return what `operation` returns once it is durable, or raise what it raises.

        An operation whose caller is cancelled may still be carried out if it has begun, and never if it has not.
        """
        return await self._enter(operation).outcome

    async def run_certainly(self, operation: Query[Result]) -> Result:
        """Do the same for a caller that has to know: CancelledError means that it never will be carried out.

        Where it has begun, its outcome is returned or raised although the caller was cancelled.
        """
        waiting = self._enter(operation)
        while True:
            try:
                return await asyncio.shield(waiting.outcome)
            except asyncio.CancelledError:
                if not waiting.begun:
                    waiting.outcome.cancel()
                    raise

    def _enter(self, operation: Query[Result]) -> "_Waiting[Result]":
        waiting = _Waiting(operation, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._work is None:
            self._work = asyncio.create_task(self._commit_waiting(), name="database writer")
        return waiting

    async def close(self) -> None:
        """Finish what was begun and disconnect."""
        if self._work is not None:
            await asyncio.wait({self._work})
        await self._lane.close()

    async def _commit_waiting(self) -> None:
        while batch := [waiting for waiting in self._waiting if not waiting.outcome.done()]:
            self._waiting.clear()
            outcomes = await self._outcomes(batch)
            self.on_commit()
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.outcome.done():
                    continue
                if isinstance(outcome, Exception):
                    waiting.outcome.set_exception(outcome)
                else:
                    waiting.outcome.set_result(outcome)
        self._waiting.clear()
        self._work = None

    async def _outcomes(self, batch: "list[_Waiting[Any]]") -> list[Any]:
        """Return each operation's result or error, once all that succeeded are durable."""
        try:
            return await self._lane.run(partial(self._commit_together, batch))
        except Exception as exc:
            return [exc] * len(batch)

    async def _commit_together(self, batch: "list[_Waiting[Any]]", connection: aiosqlite.Connection) -> list[Any]:
        """Return each operation's result, or the error with which it alone failed."""
        await connection.execute(queries.BEGIN)
        try:
            outcomes = [await self._attempt(waiting, connection) for waiting in batch]
            await connection.execute(queries.COMMIT)
        except BaseException:
            if connection.in_transaction:
                await connection.execute(queries.ROLLBACK)
            raise
        return outcomes

    async def _attempt(self, waiting: "_Waiting[Any]", connection: aiosqlite.Connection) -> Any:
        if waiting.outcome.done():
            return None  # Its caller went away while the transaction waited for other processes.
        waiting.begun = True
        try:
            with translated(self._path):
                return await waiting.operation(connection)
        except Unavailable:
            raise  # The database itself is at fault, for all of them.
        except Exception as exc:
            return exc
