"""The two dialects of SQL side by side: what SQLite and PostgreSQL write differently, and how a statement names it.

A statement is written once, with parameters as `:name`. Where the dialects differ, it is a function of a `Dialect`,
whose methods return the part that differs.
"""

import re
from collections.abc import Callable
from typing import Protocol

_TOKENS = re.compile(
    r"""
    '(?:[^']|'')*' | "(?:[^"]|"")*" | \$\$.*?\$\$  # what is quoted
    | --[^\n]* | /\*.*?\*/  # comments
    | ::  # a cast
    | :(?P<name>[a-z_][a-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


class Dialect(Protocol):
    """What the dialects write differently."""

    name: str

    def members(self, name: str) -> str:
        """Return a sub-select of the texts in the parameter `name`, a JSON list."""

    def json_list(self, value: str, rows: str) -> str:
        """Return an expression: JSON text, the list of the expression `value` for each of `rows`, a SELECT in order."""

    def json_object(self, *columns: str) -> str:
        """Return an expression: a JSON object of these columns."""

    def records(self, name: str, /, **columns: str) -> str:
        """Return a FROM item: the JSON list of objects in the parameter `name`; `columns` are their columns' types."""

    def one(self, values: str) -> str:
        """Return what an INSERT takes: one row of these values, or none where not `given`."""

    def each(self, name: str, /, **columns: str) -> str:
        """Return what an INSERT takes: the rows in the parameter `name` of a statement that has `many` rows there.

        None where not `given`. `columns` are the types of theirs.
        """

    def lines(self, value: str, rows: str) -> str:
        """Return an expression: the texts `value` of `rows`, a SELECT in order, joined by newlines; '' for no rows."""

    def contains(self, column: str, name: str) -> str:
        r"""Return a condition: `column` matches the LIKE pattern in the parameter `name`, with `\` as its escape.

        Case is ignored for ASCII.
        """

    def has_text(self, column: str, name: str) -> str:
        """Return a condition: `column` has the text in the parameter `name` in it. Much faster than `contains`."""

    def has_labels(self, column: str, name: str) -> str:
        """Return a condition: the JSON object `column` has all members of the one in the parameter `name`."""

    def lock_text(self, name: str) -> str:
        """Return a statement that waits until no other transaction has locked the text in the parameter `name`.

        The text is locked until the transaction ends.
        """

    share_lock: str
    """What ends a SELECT whose rows no other transaction may change until this one ends."""
    update_lock: str
    """The same, and no other transaction may lock them either."""
    commit_order: tuple[str, ...]
    """The columns of the outbox that order its entries as they were committed, once they are `settled`."""
    settled: str
    """A condition on rows of the outbox: no transaction before theirs is still open."""
    given: str
    """A condition of statements that may follow the first one of a chain: that one has changed a row.

    It is true outside of a chain, and where a database does not run the whole chain as one statement.
    """
    returning_changed: str
    """What ends the first statement of a chain of whose rows only is asked whether there are any."""
    server_id: str
    """An expression: what the server calls the database, '' where there is no server.

    It is the same after a fail-over to a replica, and another one for a dump that was restored.
    """


def _pairs(columns: tuple[str, ...]) -> str:
    return ", ".join(f"'{column}', {column}" for column in columns)


class SQLite:
    """The dialect of SQLite 3.35 and newer."""

    name = "sqlite"
    # A writer is alone.
    share_lock = ""
    update_lock = ""
    commit_order: tuple[str, ...] = ("position",)
    settled = "true"
    given = "true"
    returning_changed = ""  # SQLite keeps the rows that it is to return in a table for each statement.
    server_id = "''"

    def members(self, name: str) -> str:
        return f"(SELECT value FROM json_each(:{name}))"

    def json_list(self, value: str, rows: str) -> str:
        return f"(SELECT json_group_array({value}) FROM ({rows}) AS listed)"

    def json_object(self, *columns: str) -> str:
        return f"json_object({_pairs(columns)})"

    def records(self, name: str, /, **columns: str) -> str:
        values = ", ".join(f"json_extract(value, '$.{column}') AS {column}" for column in columns)
        return f"(SELECT {values} FROM json_each(:{name})) AS records"

    def one(self, values: str) -> str:
        return f"VALUES ({values})"  # For a SELECT, it would prepare to undo the insert of several rows.

    def each(self, _name: str, /, **columns: str) -> str:
        # Half the time of reading JSON; and where the rows are, the driver knows.
        return f"VALUES ({', '.join(f':{column}' for column in columns)})"

    def lines(self, value: str, rows: str) -> str:
        return f"(SELECT coalesce(group_concat({value}, char(10)), '') FROM ({rows}) AS listed)"

    def contains(self, column: str, name: str) -> str:
        return rf"{column} LIKE :{name} ESCAPE '\'"

    def has_text(self, column: str, name: str) -> str:
        return f"instr({column}, :{name}) > 0"

    def has_labels(self, column: str, name: str) -> str:
        # There is no wanted label that the job does not have.
        return f"""NOT EXISTS (
            SELECT 1 FROM json_each(:{name}) AS wanted WHERE NOT EXISTS (
                SELECT 1 FROM json_each({column}) AS own WHERE own.key = wanted.key AND own.value = wanted.value))"""

    def lock_text(self, name: str) -> str:
        return f"SELECT :{name} AS locked"  # A writer is alone.


class PostgreSQL:
    """The dialect of PostgreSQL 13 and newer."""

    name = "postgresql"
    share_lock = " FOR SHARE"
    update_lock = " FOR UPDATE"
    commit_order: tuple[str, ...] = ("txid", "position")
    settled = "txid < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"
    given = "true"
    returning_changed = " RETURNING true"
    server_id = (
        "(SELECT concat(system_identifier, '/', oid) FROM pg_control_system(), pg_database "
        "WHERE datname = current_database())"
    )

    def members(self, name: str) -> str:
        return f"(SELECT json_array_elements_text(CAST(:{name} AS json)))"

    def json_list(self, value: str, rows: str) -> str:
        return f"(SELECT CAST(coalesce(json_agg({value}), '[]') AS text) FROM ({rows}) AS listed)"

    def json_object(self, *columns: str) -> str:
        return f"json_build_object({_pairs(columns)})"

    def records(self, name: str, /, **columns: str) -> str:
        types = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        return f"json_to_recordset(CAST(:{name} AS json)) AS records({types})"

    def one(self, values: str) -> str:
        return f"SELECT {values} WHERE {self.given}"

    def each(self, name: str, /, **columns: str) -> str:
        return f"SELECT {', '.join(columns)} FROM {self.records(name, **columns)} WHERE {self.given}"

    def lines(self, value: str, rows: str) -> str:
        return f"(SELECT coalesce(string_agg({value}, chr(10)), '') FROM ({rows}) AS listed)"

    def contains(self, column: str, name: str) -> str:
        # In this collation only ASCII has upper and lower case.
        return rf'{column} COLLATE "C" ILIKE :{name} ESCAPE ' + r"'\'"

    def has_text(self, column: str, name: str) -> str:
        return f"strpos({column}, :{name}) > 0"

    def has_labels(self, column: str, name: str) -> str:
        return f"CAST({column} AS jsonb) @> CAST(CAST(:{name} AS text) AS jsonb)"

    def lock_text(self, name: str) -> str:
        return f"SELECT pg_advisory_xact_lock(hashtextextended(CAST(:{name} AS text), 0))"


class _ChainedPostgreSQL(PostgreSQL):
    """The same for a statement that follows another one in a chain, whose rows are `changed`."""

    given = "EXISTS (SELECT FROM changed)"


SQLITE, POSTGRESQL, _CHAINED = SQLite(), PostgreSQL(), _ChainedPostgreSQL()


class Statement:
    """One statement in both dialects.

    `summed` is for a statement that only adds to sums that are read in no transaction that changes them: the name of
    its one parameter, a JSON list of what it adds. A transaction may run it once for several lists, at its end.

    `many` is for a statement that follows the first one of a chain and inserts many rows: the name of its one
    parameter, a list of dicts, see `Dialect.each`. SQLite runs it once for each.
    """

    __slots__ = ("chained", "many", "postgresql", "sqlite", "summed")

    def __init__(self, text: str | Callable[[Dialect], str], *, summed: str = "", many: str = "") -> None:
        self.sqlite = text if isinstance(text, str) else text(SQLITE)
        self.postgresql = text if isinstance(text, str) else text(POSTGRESQL)
        chained = text if isinstance(text, str) else text(_CHAINED)
        self.chained = chained if chained != self.postgresql else ""
        """What PostgreSQL runs where it follows another statement in a chain; empty where it may not."""
        self.summed = summed
        self.many = many


def with_parameters(text: str, write: Callable[[str], str]) -> str:
    """Return a statement with its parameters as `write` writes their names."""
    return _TOKENS.sub(lambda match: match[0] if match["name"] is None else write(match["name"]), text)
