"""One end of a move: a database of a server. Everything blocks."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Self

import psycopg
from psycopg.rows import tuple_row

from ci_common.errors import Unavailable
from ci_persistence.dialects import POSTGRESQL
from ci_persistence.postgresql.connections import Server, map_types
from ci_persistence.postgresql.dumps import connected
from ci_persistence.postgresql.schema import bring_up_to_date

_LOCK_SECONDS = 30
_BATCH = 1000
_COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = '{}' ORDER BY column_name COLLATE "C"
"""
_BEGIN = f"""
BEGIN; SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'; SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0
"""


class PostgreSQLEnd:
    """A database in one transaction."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._numbers = count()

    @classmethod
    @contextmanager
    def opened(cls, url: str, locked: Sequence[str] = ()) -> Iterator[Self]:
        """Begin a transaction in a database with the present schema; others do not write to the tables `locked`.

        Raises Unavailable, ValueError for a URL that cannot be read.
        """
        server = Server(url)
        asyncio.run(_bring_up_to_date(server))
        try:
            with psycopg.connect(server.conninfo, autocommit=True, row_factory=tuple_row) as connection:
                map_types(connection.adapters)
                connection.execute(_BEGIN.encode())
                if locked:
                    connection.execute(f"LOCK TABLE {', '.join(locked)} IN SHARE ROW EXCLUSIVE MODE".encode())
                yield cls(connection)
        except psycopg.Error as exc:
            error = server.product_error(exc)
            raise (error if isinstance(error, Unavailable) else server.unavailable(str(error))) from exc

    def columns(self, table: str) -> list[str]:
        return [row[0] for row in self.run(_COLUMNS.format(table))]

    def rows(self, statement: str) -> Iterator[Sequence[Any]]:
        # On the server, so that not all rows are in memory.
        with self._connection.cursor(name=f"rows_{next(self._numbers)}") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(statement.encode())
            yield from cursor

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def run(self, statement: str) -> list[Sequence[Any]]:
        cursor = self._connection.execute(statement.encode())
        return list(cursor.fetchall()) if cursor.description else []

    def server_id(self) -> str:
        return str(self.run(f"SELECT {POSTGRESQL.server_id}")[0][0])

    def highest_transaction(self) -> int | None:
        return int(self.run("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")[0][0])

    def last_position(self) -> int:
        ((sequence,),) = self.run("SELECT pg_get_serial_sequence('outbox', 'position')")
        ((position, is_called),) = self.run(f"SELECT last_value, is_called FROM {sequence}")
        return int(position) if is_called else 0

    def set_last_position(self, position: int) -> None:
        place = "pg_get_serial_sequence('outbox', 'position')"
        self.run(f"SELECT setval({place}, {max(position, 1):d}, {'true' if position else 'false'})")

    def commit(self) -> None:
        self._connection.execute(b"COMMIT")


async def _bring_up_to_date(server: Server) -> None:
    async with connected(server) as connection:
        await bring_up_to_date(server, connection)
