"""Moves the whole content of one database into another, of whatever kind.

The target is filled in one transaction, and read again before it is committed: number and digest of the rows of each
table have to be the same on both sides. No other connection writes to the source during that; it is marked at the end.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import CiError
from ci_common.owner_file import MOVED_TO
from ci_persistence import postgresql
from ci_persistence.sqlite.moving import SQLiteEnd

TABLES: dict[str, tuple[str, ...]] = {
    "jobs": ("id",),
    "attempts": ("job_id", "number"),
    "steps": ("job_id", "attempt", "position"),
    "artifacts": ("job_id", "attempt", "position"),
    "records": ("job_id", "attempt"),
    "stored_logs": ("job_id", "attempt"),
    "removals": ("job_id",),
    "submissions": ("owner", "key"),
    "outbox": ("position",),
    "environments": ("key",),
    "caches": ("id",),
    "keys": ("id",),
    "projects": ("name",),
    "members": ("project", "owner"),
    "stored_bytes": ("kind", "name"),
    "servers": ("id",),
    "places": ("server", "quota", "kind", "name"),
    "secrets": ("project", "name"),
    "test_runs": ("job_id", "attempt"),
    "test_results": ("job_id", "attempt", "first"),
    "audit": ("number",),
    "audit_ends": ("name",),
    "counters": ("name",),
    "stage_times": ("stage", "way", "bound"),
    "queue": ("only_row",),
    "pool": ("only_row",),
    "lease": ("only_row",),
    "installation": ("only_row",),
}
"""All tables that both kinds have, and their keys; a table comes after those that it refers to."""
_HAVE_A_ROW = ("audit_ends", "queue", "pool", "lease", "installation")
"""Tables that have rows in a new database."""
_NOT_COMPARED = {"outbox": ("txid",)}
"""Columns that the databases give themselves."""
_USED = """
SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM counters) + (SELECT sum(fence) FROM lease)
       + (SELECT count(*) FROM installation WHERE data_path IS NOT NULL)
"""
_HIGHEST = "SELECT coalesce(max(txid), 0) FROM outbox"
_MARK = "UPDATE installation SET data_path = '{}'"
# A server that still has the source open refuses submissions, and clients try again until it has the target.
_FILL_QUEUE = "UPDATE queue SET length = 2000000000"

Say = Callable[[str], None]
"""Takes one line of progress."""
Values = Sequence[Any]


class MoveRefused(CiError):
    """The content cannot be moved. The message says why, and what to do."""


class End(Protocol):
    """A database in a transaction of its own, which is rolled back unless `commit` is called.

    All methods block and may raise Unavailable.
    """

    def columns(self, table: str) -> list[str]:
        """Return the names of the columns, in alphabetical order; none where there is no such table."""

    def rows(self, statement: str) -> Iterator[Values]:
        """Yield the rows that a statement without parameters returns, a batch in memory at a time."""

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Values]) -> None:
        """Insert rows."""

    def run(self, statement: str) -> list[Values]:
        """Run a statement without parameters, and return its rows."""

    def server_id(self) -> str:
        """Return what the database's server calls the database; empty for a file."""

    def highest_transaction(self) -> int | None:
        """Return the number below which those of earlier transactions are; None where there are none."""

    def last_position(self) -> int:
        """Return the latest position that the outbox has given out."""

    def set_last_position(self, position: int) -> None:
        """Have the outbox go on after `position`."""

    def commit(self) -> None:
        """Make it durable."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved."""

    rows: dict[str, int]
    """The number of rows by table."""
    server_id: str
    """What the target's server calls the target."""


@dataclass(frozen=True, slots=True)
class _Digest:
    rows: int
    sha256: str


def move(source: DatabaseAddress, target: DatabaseAddress, say: Say, bind: Callable[[str], None]) -> Moved:
    """Move everything. Blocks.

    No controller leads in the target, and the fence of its lease goes on from there. Once the target is committed,
    `bind` is called with its `server_id`, and then the source is marked, so that nothing starts with it any more.
    Raises MoveRefused where the target is not empty or differs in the end, Unavailable.
    """
    with _locked(source) as here, _empty(target) as there:
        if there.run(_USED) != [(0,)]:
            raise MoveRefused(f"the database {target} is not empty: name one that is, or make it empty before")
        for table in _HAVE_A_ROW:
            there.run(f"DELETE FROM {table}")
        moved = {table: _move_table(table, here, there, say) for table in TABLES}
        there.set_last_position(here.last_position())
        say("comparing")
        for table, digest in moved.items():
            if (found := _digest(table, _stored(table, there))) != digest:
                raise MoveRefused(
                    f"the table {table} differs: {digest.rows} rows of {source} with the digest {digest.sha256[:12]}, "
                    f"and {found.rows} of {target} with {found.sha256[:12]}; nothing was changed"
                )
        server_id = there.server_id()
        there.commit()
        bind(server_id)
        here.run(_MARK.format(f"{MOVED_TO}{target.name}".replace("'", "''")))
        here.run(_FILL_QUEUE)
        here.commit()
    return Moved({table: digest.rows for table, digest in moved.items()}, server_id)


def _locked(address: DatabaseAddress) -> AbstractContextManager[End]:
    """Open a database that exists, and keep others from writing to it."""
    if address.path is not None:
        return SQLiteEnd.locked(address.path)
    return postgresql.locked_end(address, tuple(TABLES))


def _empty(address: DatabaseAddress) -> AbstractContextManager[End]:
    """Open a database, with the present schema, to be filled."""
    if address.path is not None:
        return SQLiteEnd.to_fill(address.path)
    return postgresql.end_to_fill(address)


def _move_table(table: str, here: End, there: End, say: Say) -> _Digest:
    columns = here.columns(table)
    if columns != there.columns(table):
        raise MoveRefused(f"the table {table} has other columns in the other database: move both to one version")
    hashing = _Hashing(table, columns)
    keeps_numbers = _keeps_numbers(here, there)

    def counted() -> Iterator[Values]:
        for row in _prepared(table, columns, here.rows(_all_of(table, columns)), keeps_numbers):
            hashing.add(row)
            if hashing.rows % 1000 == 0:
                say(f"{table}: {hashing.rows} rows")
            yield row

    there.fill(table, columns, counted())
    return hashing.digest()


def _prepared(table: str, columns: Sequence[str], rows: Iterable[Values], keeps_numbers: bool) -> Iterator[Values]:
    """Yield rows as they are to be in the target."""
    if table == "lease":  # No controller leads there.
        held = [columns.index(name) for name in ("holder", "seconds")]
        rows = ([None if place in held else value for place, value in enumerate(row)] for row in rows)
    elif table == "outbox":
        rows = _in_commit_order(columns.index("txid"), rows, keeps_numbers)
    for row in rows:
        # PostgreSQL cannot keep NUL in text.
        yield [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row]


def _keeps_numbers(here: End, there: End) -> bool:
    """Return whether the target has come as far as the numbers of transactions in the source's outbox."""
    ceiling = there.highest_transaction()
    return ceiling is None or int(here.run(_HIGHEST)[0][0]) < ceiling


def _in_commit_order(place: int, rows: Iterable[Values], keeps_numbers: bool) -> Iterator[Values]:
    """Yield entries of the outbox so that (txid, position) orders them, and all later ones after them.

    Numbers only grow with the position, so that a reader may get an entry again, and misses none.
    """
    highest = 0
    for row in rows:
        highest = max(highest, row[place]) if keeps_numbers else 0
        yield [*row[:place], highest, *row[place + 1 :]]


def _all_of(table: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)} FROM {table} ORDER BY {', '.join(TABLES[table])}"


def _stored(table: str, end: End) -> tuple[list[str], Iterator[Values]]:
    columns = end.columns(table)
    return columns, end.rows(_all_of(table, columns))


def _digest(table: str, stored: tuple[list[str], Iterator[Values]]) -> _Digest:
    columns, rows = stored
    hashing = _Hashing(table, columns)
    for row in rows:
        hashing.add(row)
    return hashing.digest()


class _Hashing:
    """Number and digest of a table's rows, each as JSON, in the order of its key."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        left_out = _NOT_COMPARED.get(table, ())
        self._compared = [place for place, name in enumerate(columns) if name not in left_out]
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, row: Values) -> None:
        self._hash.update(json.dumps([row[place] for place in self._compared]).encode() + b"\n")
        self.rows += 1

    def digest(self) -> _Digest:
        return _Digest(self.rows, self._hash.hexdigest())
