"""Connections, and the one writer among them.

Each connection has a thread, in which a query runs as a whole. This is the only module that uses aiosqlite, and the
only place where SQLite's errors become the product's.
"""

import asyncio
import errno
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from ci_common.errors import DatabaseUnavailable, Locked, NoRoom, Unavailable
from ci_common.system.disk import Ballast, is_full
from ci_common.times import uptime
from ci_persistence.sqlite import queries
from ci_persistence.sqlite.change_notifier import ChangeNotifier

Result = TypeVar("Result")
Query = Callable[[sqlite3.Connection], Result]
"""What to do with a connection, in its thread."""

_ITERATION_ROWS = 64
"""What aiosqlite's own cursors fetch at once; they are not used here."""
_RESERVE_SECONDS = 10.0
"""How often to check that disk space is reserved."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into Unavailable, or Locked, and a broken CHECK, trigger or UNIQUE into ValueError.

    Errors that only a bug of ours can cause are not translated.
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
        if _is_disk_full(exc, path):
            raise NoRoom(f"the disk that holds the database {path} is full") from exc
        raise DatabaseUnavailable(f"the database {path} cannot be used: {exc}") from exc


def _is_disk_full(error: sqlite3.Error | OSError, path: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return True
        case sqlite3.SQLITE_IOERR:  # SQLite does not say why, for example where its shared memory cannot grow.
            return is_full(path.parent)
        case _:
            return False


class _Connection(aiosqlite.Connection):
    """A connection whose thread runs whole functions: a thread hop costs more than most statements."""

    async def call(self, query: Query[Result]) -> Result:
        """Return what `query` returns, or raise what it raises, after all earlier queries."""
        result: Result = await self._execute(query, self._conn)  # type: ignore[no-untyped-call]  # as aiosqlite has it
        return result


class Connection:
    """One connection, which runs one query after the other.

    `setup` is run when it connects; `busy_timeout` is how long, in seconds, to wait for another writer.
    """

    def __init__(self, path: Path, *, busy_timeout: float, setup: Iterable[str]) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._setup = tuple(setup)
        self._connection: _Connection | None = None

    async def open(self) -> None:
        """Connect. Raises Unavailable."""
        with translated(self._path):
            # If aiosqlite cannot make its connection, its thread may outlive the event loop; so try first.
            self._connect().close()
            self._connection = connection = _Connection(self._connect, _ITERATION_ROWS)
            await connection
            await connection.call(self._set_up)

    async def run(self, query: Query[Result]) -> Result:
        """Return what `query` returns, or raise what it raises. Raises Unavailable once closed.

        A query whose caller is cancelled still runs to its end.
        """
        if self._connection is None:
            raise DatabaseUnavailable(f"the database {self._path} is closed")
        with translated(self._path):
            return await self._connection.call(query)

    async def close(self) -> None:
        """Finish the queries that were begun, and disconnect. May be called twice, and without `open`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        for statement in self._setup:
            connection.execute(statement).fetchall()


class _Waiting(asyncio.Future[Result]):
    """An operation that waits for its commit, and the future that its caller awaits.

    Where `certain`, the caller cannot be cancelled once the operation has begun. Where not `vital`, a full disk refuses
    it.
    """

    def __init__(self, operation: Query[Result], *, certain: bool, vital: bool) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.operation = operation
        self.vital = vital
        self._certain = certain
        self._claim = threading.Lock()
        self._begun = False

    def cancel(self, msg: Any | None = None) -> bool:
        if self._certain and not self._claim.acquire(blocking=False):
            return False
        return super().cancel(msg)

    def begin(self) -> bool:
        """Return whether the writer may run the operation, once more if it has begun: its caller was not cancelled."""
        if self.done():
            return False
        self._begun = self._begun or self._claim.acquire(blocking=False)
        return self._begun


class Writer:
    """Runs the operations that arrive during a commit together, in the next transaction.

    Only the first write of an operation can be refused, so an operation that fails has changed nothing.
    """

    def __init__(self, path: Path, connection: Connection, notifier: ChangeNotifier) -> None:
        """`notifier` is told of every commit before the callers of its operations continue."""
        self._path = path
        self._connection = connection
        self._ballast = Ballast(path)
        self._reserve_due = 0.0
        self._notifier = notifier
        self._waiting: list[_Waiting[Any]] = []
        self._work: asyncio.Task[None] | None = None

    async def run(self, operation: Query[Result], *, certain: bool = False, vital: bool = True) -> Result:
        """Return what `operation` returns once it is durable, or raise what it raises.

        A cancelled caller's operation may still run if it has begun, and never does if it has not. With `certain`, the
        caller learns the outcome: CancelledError means that the operation never runs; if it has begun, its result is
        returned or its error raised in spite of the cancellation. `vital` operations may use the reserved disk space.
        """
        waiting = _Waiting(operation, certain=certain, vital=vital)
        self._waiting.append(waiting)
        if self._work is None:
            self._work = asyncio.create_task(self._commit_waiting(), name="database writer")
        try:
            return await waiting
        except asyncio.CancelledError:
            if not certain:
                raise
            return waiting.result()  # The same error, unless the operation had begun.

    async def close(self) -> None:
        """Finish the operations that were begun, and disconnect."""
        if self._work is not None:
            await asyncio.wait({self._work})
        await self._connection.close()

    async def _commit_waiting(self) -> None:
        while batch := [waiting for waiting in self._waiting if not waiting.done()]:
            self._waiting.clear()
            with self._notifier.own_commit():
                outcomes = await self._outcomes(batch)
            self._notifier.notify(outcomes)
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.done():
                    continue
                if isinstance(outcome, Exception):
                    waiting.set_exception(outcome)
                else:
                    waiting.set_result(outcome)
            await self._reserve_space()
        self._waiting.clear()
        self._work = None

    async def _outcomes(self, batch: list[_Waiting[Any]]) -> list[Any]:
        """Return each operation's result or error, once all that succeeded are durable."""
        try:
            return await self._connection.run(partial(self._commit, batch))
        except NoRoom as exc:
            return await self._outcomes_on_full_disk(batch, exc)
        except Exception as exc:
            return [exc] * len(batch)

    async def _outcomes_on_full_disk(self, batch: list[_Waiting[Any]], error: NoRoom) -> list[Any]:
        """Run the vital operations again with the reserved space; only they can free some of the disk."""
        vital = [waiting for waiting in batch if waiting.vital]
        outcomes: dict[_Waiting[Any], Any] = {}
        if vital and self._ballast.give_up():
            try:
                done = await self._connection.run(partial(self._commit, vital))
                outcomes = dict(zip(vital, done, strict=True))
            except Exception as exc:
                outcomes = dict.fromkeys(vital, exc)
        return [outcomes.get(waiting, error) for waiting in batch]

    async def _reserve_space(self) -> None:
        """Reserve disk space again after it was given up. Runs after the first commit, and then at intervals."""
        now = uptime()
        if now >= self._reserve_due:
            self._reserve_due = now + _RESERVE_SECONDS
            with suppress(Unavailable):  # For example once it is closed.
                await self._connection.run(lambda _: self._ballast.take())

    def _commit(self, batch: list[_Waiting[Any]], connection: sqlite3.Connection) -> list[Any]:
        """Return each operation's result, or the error with which it alone failed. Runs in the connection's thread."""
        connection.execute(queries.BEGIN)
        try:
            # Begun only now: a caller may be cancelled while the transaction waits for other processes.
            outcomes = [self._outcome(waiting.operation, connection) if waiting.begin() else None for waiting in batch]
            connection.execute(queries.COMMIT)
        except BaseException:
            if connection.in_transaction:
                connection.execute(queries.ROLLBACK)
            raise
        return outcomes

    def _outcome(self, operation: Query[Any], connection: sqlite3.Connection) -> Any:
        try:
            with translated(self._path):
                return operation(connection)
        except Unavailable:
            raise  # The database itself is at fault, for all operations.
        except Exception as exc:
            return exc
