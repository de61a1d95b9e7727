"""The `Session` of PostgreSQL, and how a statement's parameters are written for it."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import psycopg

from ci_common.parsing.large import LARGE_BYTES
from ci_common.sharing.audit import Entry
from ci_persistence.database import NO_VALUES, Command, Row, Values
from ci_persistence.dialects import Statement, with_parameters
from ci_persistence.postgresql.connections import Connection, Server
from ci_persistence.rows import to_json

Result = TypeVar("Result")

_MANY_ROWS = 32
"""As many as can be decoded in a millisecond."""

_CHANGES = re.compile(r"\b(?:INSERT|(?<!FOR )UPDATE|DELETE|MERGE|TRUNCATE|CREATE|ALTER|DROP)\b", re.IGNORECASE)
_NO_CHANGE = ("INSERT 0 0", "UPDATE 0", "DELETE 0", "MERGE 0")
"""The server's command tags for a statement that has changed no row. A SELECT may have an INSERT in its WITH."""


class Query(NamedTuple):
    """A statement as the server reads it: with `$1` for the first of `names`, and so on."""

    text: bytes
    names: tuple[tuple[int, str], ...]
    """The command of a chain that has the parameter, 0 for the first one, and its name there."""
    may_change: bool
    """Whether it can change something. A SELECT may have an INSERT in its WITH."""


@lru_cache(maxsize=1024)
def query_of(text: str) -> Query:
    """Write the parameters `:name` of a statement as the server has them."""
    numbers: dict[tuple[int, str], int] = {}
    return Query(_numbered(0, text, numbers).encode(), tuple(numbers), bool(_CHANGES.search(text)))


@lru_cache(maxsize=1024)
def chain_of(statements: tuple[Statement, ...]) -> Query:
    """Return the one statement that runs those of a chain. Its rows are those of the first one."""
    first, *others = statements
    numbers: dict[tuple[int, str], int] = {}
    parts = [f"changed AS ({_numbered(0, first.postgresql, numbers)})"]
    for number, statement in enumerate(others, 1):
        if not statement.chained:
            raise ValueError(f"this statement cannot follow another one, without Dialect.given: {statement.postgresql}")
        parts.append(f"then_{number} AS ({_numbered(number, statement.chained, numbers)})")
    return Query(f"WITH {', '.join(parts)} SELECT * FROM changed".encode(), tuple(numbers), may_change=True)


def _numbered(command: int, text: str, numbers: dict[tuple[int, str], int]) -> str:
    """Write the parameters of a command as the server has them, after those in `numbers`, and add them there."""

    return with_parameters(text, lambda name: f"${numbers.setdefault((command, name), len(numbers) + 1)}")


Cursor = psycopg.AsyncCursor[dict[str, Any]]


class PostgreSQLSession:
    """One connection for the length of an operation, or of several that share a transaction."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self.changes = 0
        """How many statements have changed something."""
        self.is_notifying = False
        self.entries: list[Entry] = []
        """What the transaction adds to the audit at its end."""
        self.failure: Exception | None = None
        """The error of a statement. A transaction in which one failed can only be rolled back."""

    async def rows(self, statement: Statement, values: Values = NO_VALUES) -> list[Row]:
        rows: list[Any] = await (await self._run(statement, values)).fetchall()
        return rows

    async def row(self, statement: Statement, values: Values = NO_VALUES) -> Row:
        (row,) = await self.rows(statement, values)
        return row

    async def execute(self, statement: Statement, values: Values = NO_VALUES) -> int:
        return (await self._run(statement, values)).rowcount

    async def execute_many(self, statement: Statement, values: Sequence[Values]) -> int:
        cursor = self._connection.cursor()
        query = query_of(statement.postgresql)
        with self._failing():
            await cursor.executemany(query.text, [_parameters(query, (each,)) for each in values])
        self.changes += cursor.rowcount
        return cursor.rowcount

    async def chain(self, first: Command, *then: Command) -> list[Row]:
        cursor = self._connection.cursor()
        query = _query_of_chain((first, *then))
        with self._failing():
            await cursor.execute(query.text, _parameters(query, [values for _, values in (first, *then)]))
        rows: list[Any] = await cursor.fetchall()
        self.changes += bool(rows)  # It has changed nothing if there are none.
        return rows

    async def run_chains(self, chains: Sequence[Sequence[Command]]) -> list[list[Row]]:
        """Run several chains, sent without waiting for answers in between. Return the rows of each.

        The caller adds to `changes`.
        """
        cursors: list[Cursor] = []
        error: psycopg.Error | None = None
        with self._failing():
            try:
                async with self._connection.pipeline():
                    try:
                        for query, alike in groupby(chains, _query_of_chain):
                            cursors.append(self._connection.cursor())
                            parameters = [_parameters(query, [values for _, values in chain]) for chain in alike]
                            await cursors[-1].executemany(query.text, parameters, returning=True)
                    except psycopg.Error as exc:
                        error = exc
                    except asyncio.CancelledError:  # Without its connection, a pipeline waits for no answer.
                        await self._connection.close()
                        raise
            except psycopg.Error as exc:  # What follows a statement that failed is refused.
                error = error or exc
            if error is not None:
                raise error
            return [list(await results.fetchall()) for cursor in cursors async for results in cursor.results()]

    async def decoded(self, decode: Callable[[Row], Result], rows: Sequence[Row]) -> list[Result]:
        texts = (value for row in rows for value in row.values() if isinstance(value, str))
        if len(rows) > _MANY_ROWS or sum(map(len, texts)) > LARGE_BYTES:
            return await asyncio.to_thread(lambda: [decode(row) for row in rows])
        return [decode(row) for row in rows]

    def notify(self) -> None:
        self.is_notifying = True

    def record(self, entry: Entry) -> None:
        self.entries.append(entry)

    async def _run(self, statement: Statement, values: Values) -> Cursor:
        query = query_of(statement.postgresql)
        cursor = self._connection.cursor()
        with self._failing():
            await cursor.execute(query.text, _parameters(query, (values,)))
        if query.may_change and cursor.statusmessage not in _NO_CHANGE:
            self.changes += 1
        return cursor

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Note the error of a statement, and raise what it means to the product."""
        try:
            yield
        except psycopg.Error as exc:
            self.failure = self._server.product_error(exc)
            if self.failure is exc:
                raise
            raise self.failure from exc


def _query_of_chain(commands: Sequence[Command]) -> Query:
    return chain_of(tuple(statement for statement, _ in commands))


def _parameters(query: Query, values: Sequence[Values]) -> list[Any]:
    return [_storable(values[command][name]) for command, name in query.names]


def _storable(value: Any) -> Any:
    """Return the value without NUL, which PostgreSQL cannot keep. No text that it keeps equals one with NUL."""
    if isinstance(value, list):  # The rows of a statement with `many`.
        return to_json(value)
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value
