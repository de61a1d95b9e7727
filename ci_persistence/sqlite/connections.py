"""Connections, each with a thread in which what is asked of it is carried out as a whole.

This is the one door to aiosqlite, and the one place where SQLite's errors become the product's.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import aiosqlite

from ci_common.errors import DatabaseUnavailable, Locked, NoRoom
from ci_common.system.disk import is_full

Result = TypeVar("Result")
Query = Callable[[sqlite3.Connection], Result]
"""What to do with a connection, in its thread."""

_ITERATION_ROWS = 64
"""What aiosqlite fetches at once where its own cursors are used, which they are not here."""


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
        if _is_for_want_of_room(exc, path):
            raise NoRoom(f"the disk that holds the database {path} is full") from exc
        raise DatabaseUnavailable(f"the database {path} cannot be used: {exc}") from exc


def _is_for_want_of_room(error: sqlite3.Error | OSError, path: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return True
        case sqlite3.SQLITE_IOERR:  # SQLite does not say why, as where its shared memory cannot grow.
            return is_full(path.parent)
        case _:
            return False


class _Connection(aiosqlite.Connection):
    """A connection whose thread carries out whole functions: a hop per statement costs more than most statements."""

    async def carry_out(self, query: Query[Result]) -> Result:
        """Return what `query` returns, or raise what it raises, once all before it have been carried out."""
        result: Result = await self._execute(query, self._conn)  # type: ignore[no-untyped-call]  # as aiosqlite has it
        return result


class Lane:
    """One connection, on which one query follows the other.

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
            # The thread of a connection of aiosqlite's that cannot be made may outlive the event loop.
            self._connect().close()
            self._connection = connection = _Connection(self._connect, _ITERATION_ROWS)
            await connection
            await connection.carry_out(self._set_up)

    async def run(self, query: Query[Result]) -> Result:
        """Return what `query` returns, or raise what it raises. Raises Unavailable once closed.

        A query whose caller is cancelled is still carried to its end.
        """
        if self._connection is None:
            raise DatabaseUnavailable(f"the database {self._path} is closed")
        with translated(self._path):
            return await self._connection.carry_out(query)

    async def close(self) -> None:
        """Finish what was begun and disconnect. May be called twice, and without `open`."""
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
