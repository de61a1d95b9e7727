"""Connections: each has a thread, in which an operation runs as a whole.

This is the only module that uses aiosqlite, and the only place where SQLite's errors become the product's.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite

from ci_common.errors import DatabaseUnavailable, Locked, NoRoom
from ci_common.sharing.audit import Entry
from ci_common.system.disk import is_full
from ci_persistence.database import NO_VALUES, Command, Operation, Row, Values
from ci_persistence.dialects import Statement, with_parameters

Result = TypeVar("Result")
Query = Callable[[sqlite3.Connection], Result]
"""What to do with a connection, in its thread."""

_CHANGED: Row = {}
"""A row that a statement has changed which returns none."""
_ITERATION_ROWS = 64
"""What aiosqlite's own cursors fetch at once; they are not used here."""


def product_error(error: Exception, path: Path) -> Exception:
    """Return what an error of SQLite is to the product, caused by it; other errors as they are.

    That is Unavailable, or Locked, and ValueError for a broken CHECK, trigger or UNIQUE. Errors that only a bug of ours
    can cause stay what they are.
    """
    known = _known_error(error, path)
    if known is None:
        return error
    known.__cause__ = error
    return known


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what SQLite's errors are to the product; see `product_error`."""
    try:
        yield
    except Exception as exc:
        error = product_error(exc, path)
        if error is exc:
            raise
        raise error from exc


def _known_error(error: Exception, path: Path) -> Exception | None:
    if isinstance(error, sqlite3.IntegrityError):
        return ValueError(f"this would break the database's rules: {error}")
    if isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError | sqlite3.NotSupportedError):
        return None
    if not isinstance(error, sqlite3.Error | OSError):
        return None
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(f"another program keeps the database {path} locked")
    if _is_disk_full(error, path):
        return NoRoom(f"the disk that holds the database {path} is full")
    return DatabaseUnavailable(f"the database {path} cannot be used: {error}")


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
        self._cursor = connection.cursor()
        self.entries: list[Entry] = []
        """What the transaction adds to the audit at its end."""
        self.sums: list[tuple[Statement, str]] = []
        """What `add_sums` adds: statements, each with a JSON list that is not empty."""

    @property
    def changes(self) -> int:
        return self._connection.total_changes

    async def rows(self, statement: Statement, values: Values = NO_VALUES) -> list[Row]:
        return self._run(statement, values)

    async def row(self, statement: Statement, values: Values = NO_VALUES) -> Row:
        (row,) = await self.rows(statement, values)
        return row

    async def execute(self, statement: Statement, values: Values = NO_VALUES) -> int:
        text, values_of = _numbered(statement)
        return self._cursor.execute(text, values_of(values)).rowcount

    async def execute_many(self, statement: Statement, values: Sequence[Values]) -> int:
        text, values_of = _numbered(statement)
        return self._cursor.executemany(text, map(values_of, values)).rowcount

    async def chain(self, first: Command, *then: Command) -> list[Row]:
        rows = self._run(*first)
        if self._cursor.description is None:
            rows = [_CHANGED] * self._cursor.rowcount
        if rows:
            for statement, values in then:
                if statement.summed:
                    self.sums.append((statement, values[statement.summed]))
                    continue
                text, values_of = _numbered(statement)
                if statement.many:
                    self._cursor.executemany(text, map(values_of, values[statement.many]))
                else:
                    self._cursor.execute(text, values_of(values))
        return rows

    async def decoded(self, decode: Callable[[Row], Result], rows: Sequence[Row]) -> list[Result]:
        return [decode(row) for row in rows]  # This is a thread already.

    def add_sums(self) -> None:
        """Run the statements that only add to sums, once each, as a part of the transaction's end."""
        lists: dict[Statement, list[str]] = {}
        for statement, values in self.sums:
            lists.setdefault(statement, []).append(values)
        for statement, texts in lists.items():
            together = f"[{','.join(text[1:-1] for text in texts)}]"
            self._cursor.execute(_numbered(statement)[0], (together,))

    def notify(self) -> None:
        """Do nothing: others watch the file."""

    def record(self, entry: Entry) -> None:
        self.entries.append(entry)

    def _run(self, statement: Statement, values: Values) -> list[Row]:
        text, values_of = _numbered(statement)
        # A row has what is used of a mapping.
        return cast(list[Row], self._cursor.execute(text, values_of(values)).fetchall())


@lru_cache(1024)
def _numbered(statement: Statement) -> tuple[str, Callable[[Values], tuple[Any, ...]]]:
    """Return a statement whose parameters have numbers, and what puts values in their order.

    To look names up, the driver makes a text of each one, every time.
    """
    names: dict[str, int] = {}
    text = with_parameters(statement.sqlite, lambda name: f"?{names.setdefault(name, len(names) + 1)}")
    if len(names) > 1:
        return text, itemgetter(*names)
    return text, lambda values: tuple(values[name] for name in names)


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
