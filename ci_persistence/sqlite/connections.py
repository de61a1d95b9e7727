"""Connections: each has a thread, in which an operation runs as a whole.

This is the only module that uses aiosqlite, and the only place where SQLite's errors become the product's.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import aiosqlite

from ci_common.errors import DatabaseUnavailable, Locked, NoRoom
from ci_common.system.disk import is_full
from ci_persistence.database import NO_VALUES, Command, Operation, Row, Values
from ci_persistence.dialects import Statement

Result = TypeVar("Result")
Query = Callable[[sqlite3.Connection], Result]
"""What to do with a connection, in its thread."""

_ITERATION_ROWS = 64
"""What aiosqlite's own cursors fetch at once; they are not used here."""


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


class SQLiteSession:
    """A `Session` in a connection's thread. Its methods are coroutine functions that never wait."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def rows(self, statement: Statement, values: Values = NO_VALUES) -> list[Row]:
        # A row has what is used of a mapping.
        return cast(list[Row], self._connection.execute(statement.sqlite, values).fetchall())

    async def row(self, statement: Statement, values: Values = NO_VALUES) -> Row:
        (row,) = await self.rows(statement, values)
        return row

    async def execute(self, statement: Statement, values: Values = NO_VALUES) -> int:
        return self._connection.execute(statement.sqlite, values).rowcount

    async def execute_many(self, statement: Statement, values: Sequence[Values]) -> int:
        return self._connection.executemany(statement.sqlite, values).rowcount

    async def chain(self, first: Command, *then: Command) -> list[Row]:
        execute = self._connection.execute
        rows = execute(first[0].sqlite, first[1]).fetchall()
        if rows:
            for statement, values in then:
                execute(statement.sqlite, values)
        return cast(list[Row], rows)

    def notify(self) -> None:
        """Do nothing: others watch the file."""


def run_to_end(operation: Operation[Result], session: SQLiteSession) -> Result:
    """Return what `operation` returns, or raise what it raises. Blocks."""
    running = operation(session).__await__()
    try:
        next(running)
    except StopIteration as end:
        return cast(Result, end.value)
    raise RuntimeError(f"{operation} has awaited something other than its session")


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
