"""Which databases are opened and which are refused, and that both dialects have the same schema."""

import asyncio
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ci_common.errors import Unavailable
from ci_persistence.postgresql import postgresql_database, schema
from ci_persistence.postgresql.connections import Server
from ci_persistence.postgresql.database import PostgreSQLDatabase
from ci_persistence.sqlite.schema import migrate as migrate_sqlite
from ci_persistence.sqlite.schema import migrations as sqlite_migrations
from tests.contracts.database_suite import count
from tests.helpers.postgresql.server import PostgreSQLServer

ONLY_POSTGRESQL = {"schema", "writers"}
KINDS = {"text": "TEXT", "integer": "INTEGER", "bigint": "INTEGER", "double precision": "REAL"}
LATER = """
CREATE TABLE later (job_id TEXT NOT NULL);
INSERT INTO later SELECT id FROM jobs;
ALTER TABLE lease DROP CONSTRAINT lease_is_whole;
"""


@pytest.fixture
def empty(postgresql_server: PostgreSQLServer) -> Iterator[str]:
    """The name of a database without tables."""
    name = postgresql_server.create_database()
    yield name
    postgresql_server.drop_database(name)


async def opened(url: str) -> int:
    """Open and close the database, and return what a read returns."""
    database = PostgreSQLDatabase(url, patience=10)
    try:
        await database.open()
        return await database.read(count)
    finally:
        await database.close()


async def test_an_empty_database_gets_the_schema(postgresql_server: PostgreSQLServer, empty: str) -> None:
    assert await asyncio.gather(*(opened(postgresql_server.url(empty)) for _ in range(6))) == [0] * 6
    assert postgresql_server.run("SELECT version FROM schema", empty) == [(len(schema.migrations()),)]


async def test_later_migrations_are_applied_once_by_the_first_that_opens_it(
    postgresql_server: PostgreSQLServer, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(postgresql_server.url(empty))
    scripts = [*schema.migrations(), LATER]
    monkeypatch.setattr(schema, "migrations", lambda: scripts)
    assert await asyncio.gather(*(opened(postgresql_server.url(empty)) for _ in range(6))) == [0] * 6
    assert postgresql_server.run("SELECT version FROM schema", empty) == [(len(scripts),)]


async def test_a_migration_that_fails_leaves_the_older_database_whole(
    postgresql_server: PostgreSQLServer, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(postgresql_server.url(empty))
    broken = [*schema.migrations(), f"{LATER} SELECT no_such_function();"]
    monkeypatch.setattr(schema, "migrations", lambda: broken)
    with pytest.raises(Exception, match="no_such_function"):
        await opened(postgresql_server.url(empty))
    monkeypatch.undo()
    assert await opened(postgresql_server.url(empty)) == 0
    assert postgresql_server.run("SELECT to_regclass('later')", empty) == [(None,)]


async def test_a_newer_database_is_refused(postgresql_server: PostgreSQLServer, empty: str) -> None:
    await opened(postgresql_server.url(empty))
    postgresql_server.run("UPDATE schema SET version = 99", empty)
    with pytest.raises(Unavailable, match="schema version 99, and this version of the program knows only"):
        await opened(postgresql_server.url(empty))


async def test_another_programs_database_is_refused_and_left_as_it_is(
    postgresql_server: PostgreSQLServer, empty: str
) -> None:
    postgresql_server.run("CREATE TABLE theirs (id integer)", empty)
    with pytest.raises(
        Unavailable, match=f"{empty} .* is not one of ci-server's: it has the table theirs; CI_DATABASE_URL"
    ):
        await opened(postgresql_server.url(empty))
    assert postgresql_server.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", empty) == [("theirs",)]


async def test_another_schema_of_another_programs_database_is_taken(
    postgresql_server: PostgreSQLServer, empty: str
) -> None:
    postgresql_server.run("CREATE TABLE theirs (id integer)", empty)
    url = f"{postgresql_server.url(empty)}?options=-csearch_path%3Dours"
    with pytest.raises(Unavailable, match="has none of the schemas that its search_path names"):
        await opened(url)
    postgresql_server.run("CREATE SCHEMA ours", empty)
    assert await opened(url) == 0
    assert postgresql_server.run("SELECT version FROM ours.schema", empty) == [(len(schema.migrations()),)]


async def test_a_database_without_unicode_is_refused(postgresql_server: PostgreSQLServer) -> None:
    postgresql_server.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(Unavailable, match="has the encoding LATIN1, and UTF8 is needed"):
        await opened(postgresql_server.url("latin"))
    postgresql_server.drop_database("latin")


async def test_an_older_server_is_refused(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_OLDEST", 99)
    with pytest.raises(Unavailable, match=r"is of PostgreSQL \d+.*, and 99 or newer is needed"):
        await opened(postgresql_url)


async def test_a_user_who_may_not_create_tables_is_told(postgresql_server: PostgreSQLServer, empty: str) -> None:
    postgresql_server.run("CREATE ROLE poor LOGIN")
    postgresql_server.run("REVOKE CREATE ON SCHEMA public FROM public", empty)
    with pytest.raises(Unavailable, match="permission denied for schema public"):
        await opened(postgresql_server.url(empty).replace("postgres@", "poor@"))
    postgresql_server.drop_database(empty)
    postgresql_server.run("DROP ROLE poor")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@127.0.0.1:1/x",
        "postgresql://u:secret@no-such-host.invalid/x",
        "postgresql://u:sec%ret@h/x",
        "postgresql://u:p/secret@h:x/y",
        "postgresql://u@h/x?password=secret&unknown=1",
        "host=127.0.0.1 port=1 user=u password=secret",
    ],
)
async def test_no_error_has_the_password(url: str) -> None:
    with pytest.raises((Unavailable, ValueError)) as raised:
        await PostgreSQLDatabase(url, patience=0.1).open()
    assert not re.search("secret|sec%ret", str(raised.value))


def test_the_name_of_a_database_says_where_it_is() -> None:
    assert Server("postgresql://u:p@db.example:5433/ci").name == "ci at db.example:5433"
    assert Server("postgresql://u:p@a:1,b:2/ci").name == "ci at a,b:1,2"
    assert Server("postgresql:///ci").name == "ci at the local socket"


def test_without_psycopg_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ci_persistence.postgresql.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Unavailable, match=r"pip install 'ci-server\[postgresql\]'"):
        postgresql_database("postgresql:///ci")


# Both dialects' schemas.


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate_sqlite(connection, sqlite_migrations())
        yield connection


@pytest.fixture(scope="module")
def tables(sqlite: sqlite3.Connection) -> list[str]:
    found = sqlite.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    )
    return [name for (name,) in found]


def normal(default: Any) -> str:
    return re.sub(r"::\w+", "", str(default or "")).strip("'")


def test_both_have_the_same_tables_and_columns(
    sqlite: sqlite3.Connection, tables: list[str], postgresql_server: PostgreSQLServer, postgresql_template: str
) -> None:
    ours = {
        (table, number, name, kind, bool(required), normal(default))
        for table in tables
        for number, name, kind, required, default, _ in sqlite.execute(f"PRAGMA table_info({table})")
    }
    theirs = {
        (table, number - 1, name, KINDS[kind], required == "NO", normal(default))
        for table, number, name, kind, required, default in postgresql_server.run(
            "SELECT table_name, ordinal_position, column_name, data_type, is_nullable, column_default "
            "FROM information_schema.columns WHERE table_schema = 'public'",
            postgresql_template,
        )
        if table not in ONLY_POSTGRESQL
    }
    assert {(row[0], row[2]) for row in ours ^ theirs} == {("outbox", "txid")}  # Its default is a function.


def test_both_have_the_same_keys(
    sqlite: sqlite3.Connection, tables: list[str], postgresql_server: PostgreSQLServer, postgresql_template: str
) -> None:
    primary = {
        table: [
            name
            for _, name in sorted(
                (key, name) for _, name, _, _, _, key in sqlite.execute(f"PRAGMA table_info({table})") if key
            )
        ]
        for table in tables
    }
    foreign: dict[str, list[str]] = {}
    for table in tables:
        for row in sqlite.execute(f"PRAGMA foreign_key_list({table})"):
            foreign.setdefault(f"{table} to {row[2]} {row[6]}", []).append(f"{row[3]}={row[4]}")
    rows = postgresql_server.run(
        """SELECT relname, contype, confrelid::regclass::text, confdeltype, ARRAY(
            SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k(number, place)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place), ARRAY(
            SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS k(number, place)
            JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY place)
        FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid WHERE contype IN ('p', 'f')
        AND connamespace = 'public'::regnamespace""",
        postgresql_template,
    )
    theirs = {row[0]: row[4] for row in rows if row[1] == "p" and row[0] not in ONLY_POSTGRESQL}
    assert primary == theirs
    assert {place: set(columns) for place, columns in foreign.items()} == {
        f"{row[0]} to {row[2]} CASCADE": {f"{a}={b}" for a, b in zip(row[4], row[5], strict=True)}
        for row in rows
        if row[1] == "f" and row[3] == "c"
    }


def test_both_have_the_same_named_rules_and_triggers(
    sqlite: sqlite3.Connection, tables: list[str], postgresql_server: PostgreSQLServer, postgresql_template: str
) -> None:
    scripts = "".join(sqlite_migrations()), "".join(schema.migrations())
    ours, theirs = (set(re.findall(r"CONSTRAINT (\w+)", script)) for script in scripts)
    assert ours == theirs
    triggers = sqlite.execute("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    found = postgresql_server.run(
        "SELECT tgname::text, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal", postgresql_template
    )
    assert sorted(triggers) == sorted(found)
    messages = [set(re.findall(r"'(jobs_\w+: [^']+)'", script)) for script in scripts]
    assert messages[0] == messages[1]


def test_both_have_the_same_indexes(
    sqlite: sqlite3.Connection, postgresql_server: PostgreSQLServer, postgresql_template: str
) -> None:
    ours, theirs = (
        {
            (match[1], " ".join(match[2].split()))
            for match in re.finditer(r"CREATE (?:UNIQUE )?INDEX (\w+) (ON [^;]+);", "".join(scripts))
        }
        for scripts in (sqlite_migrations(), schema.migrations())
    )
    # In SQLite, positions are in the order of the commits.
    assert theirs - ours == {("outbox_in_commit_order", "ON outbox (txid, position)")}
    assert ours <= theirs
    assert {name for name, _ in ours} == {
        name for (name,) in sqlite.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    }
