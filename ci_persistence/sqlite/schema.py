"""Brings a database's schema up to date: numbered `.sql` files, counted by `PRAGMA user_version`."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files

from ci_common.errors import Unavailable


def migrations() -> list[str]:
    """Return the text of every migration; the first brings a database from version 0 to version 1, and so on."""
    folder = files("ci_persistence.sqlite") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1)), f"a migration is missing: {names}"
    return [(folder / name).read_text("utf-8") for name in names]


SQLITE_VERSION = sqlite3.sqlite_version
"""The version of SQLite that this Python has."""
_OLDEST = (3, 35, 0)
"""The first SQLite with RETURNING."""
_UNRELEASED = {"jobs.workload", "jobs.earlier_attempts"}
"""Columns that only databases of versions before 0.1.0 have. Their schema is not upgraded."""
_COLUMNS = """
SELECT tables.name || '.' || columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite%'
"""


def check_version() -> None:
    """Raise Unavailable where this Python has a SQLite that is too old."""
    if sqlite3.sqlite_version_info < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise Unavailable(f"this Python has SQLite {sqlite3.sqlite_version}, and {wanted} or newer is needed")


def migrate(connection: sqlite3.Connection, scripts: list[str]) -> None:
    """Apply those of `scripts` that the database does not have yet, each in one transaction.

    Several processes may do so at once. Raises Unavailable where the database has more than there are scripts.
    """
    while (version := _version(connection)) < len(scripts):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) == version:  # No other process was quicker.
                for statement in _statements(scripts[version]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1:d}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if version > len(scripts):
        raise Unavailable(
            f"the database has schema version {version}, and this version of the program knows only {len(scripts)}; "
            "a newer one has written it: use that one"
        )


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Apply the migrations that the database does not have yet.

    Raises Unavailable where it is another program's, an unreleased or a newer version's, or lacks tables or columns.
    """
    # In this order: another process may create the database just now, and gives it tables and version at once.
    if _columns(connection) and _version(connection) == 0:
        raise Unavailable(f"the database {_path(connection)} is not one of ci-server's; CI_DB_PATH names another place")
    if _UNRELEASED & _columns(connection):
        raise Unavailable(
            f"the database {_path(connection)} was made by a version of the program before 0.1.0, and is not upgraded; "
            "move it and its data directory away, or name another place with CI_DB_PATH"
        )
    migrate(connection, migrations())
    if lack := what_lacks(connection):
        raise Unavailable(
            f"the database {_path(connection)} {lack}; move it and its data directory away, "
            "or name another place with CI_DB_PATH"
        )


def what_lacks(connection: sqlite3.Connection) -> str:
    """Return what the database lacks of the present schema, as the rest of a sentence; empty where nothing."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as wanted:
        migrate(wanted, migrations())
        missing = sorted(_columns(wanted) - _columns(connection))
    return (
        f"does not have the schema of this version of the program: it lacks {', '.join(missing[:3])}" if missing else ""
    )


def _columns(connection: sqlite3.Connection) -> set[str]:
    """Return the columns of all tables, as `table.column`."""
    try:
        return {str(row[0]) for row in connection.execute(_COLUMNS)}
    except UnicodeDecodeError as exc:
        error = sqlite3.DatabaseError(f"the schema has a name that is not UTF-8: {exc}")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
        raise error from exc


def _path(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def _version(connection: sqlite3.Connection) -> int:
    (row,) = connection.execute("PRAGMA user_version")
    return int(row[0])


def _statements(script: str) -> Iterator[str]:
    """Yield one statement at a time, since `executescript` would commit in between."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    assert not pending.strip(), f"an unfinished statement: {pending}"
