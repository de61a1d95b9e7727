"""One end of a move: a database in a file. Everything blocks."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from ci_common.errors import Unavailable
from ci_persistence.sqlite import statements
from ci_persistence.sqlite.connections import translated
from ci_persistence.sqlite.schema import bring_up_to_date, check_version

_BUSY_SECONDS = 30.0
_BATCH = 1000
_COLUMNS = "SELECT name FROM pragma_table_info('{}') ORDER BY name"


class SQLiteEnd:
    """A database in a transaction that keeps other writers out."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    @contextmanager
    def locked(cls, path: Path) -> Iterator[Self]:
        """Open a database that exists. Raises Unavailable."""
        if not path.is_file():
            raise Unavailable(f"there is no database at {path.absolute()}")
        with cls._opened(path) as end:
            yield end

    @classmethod
    @contextmanager
    def to_fill(cls, path: Path) -> Iterator[Self]:
        """Open a database, and make it before where there is none; it is removed again if nothing is committed."""
        is_new = not path.exists()
        with translated(path):
            path.touch(mode=0o600)
        try:
            with cls._opened(path) as end:
                yield end
        except BaseException:
            if is_new:
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
            raise

    @classmethod
    @contextmanager
    def _opened(cls, path: Path) -> Iterator[Self]:
        check_version()
        with translated(path), closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as opened:
            for statement in statements.CONFIGURE_WRITER:
                opened.execute(statement).fetchall()
            bring_up_to_date(opened)
            opened.execute(statements.BEGIN)
            yield cls(path, opened)
            if opened.in_transaction:
                opened.execute(statements.ROLLBACK)

    def columns(self, table: str) -> list[str]:
        return [row[0] for row in self._connection.execute(_COLUMNS.format(table))]

    def rows(self, statement: str) -> Iterator[Sequence[Any]]:
        cursor = self._connection.execute(statement)
        while batch := cursor.fetchmany(_BATCH):
            yield from batch

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        places = ", ".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)

    def run(self, statement: str) -> list[Sequence[Any]]:
        return self._connection.execute(statement).fetchall()

    def server_id(self) -> str:
        return ""

    def highest_transaction(self) -> int | None:
        return None

    def last_position(self) -> int:
        rows = self.run("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        return int(rows[0][0]) if rows else 0

    def set_last_position(self, position: int) -> None:
        self.run("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
        self.run(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', {position:d})")

    def commit(self) -> None:
        self._connection.execute(statements.COMMIT)
