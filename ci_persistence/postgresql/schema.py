"""Brings a database's schema up to date: numbered `.sql` files, counted by the table `schema`."""

from importlib.resources import files
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from ci_common.errors import Unavailable
from ci_persistence.postgresql.connections import Connection, Server

_OLDEST = 13
"""The first PostgreSQL with `pg_current_xact_id` and `gen_random_uuid`."""
_LOCK = 0x63692D736572
"""The number of the advisory lock that a migration holds; it is the database's own."""
_HAS_VERSION = """
SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'schema'
"""
_TABLES = """
SELECT tables.relname FROM pg_catalog.pg_class AS tables
WHERE tables.relnamespace = to_regnamespace(quote_ident(current_schema())) AND tables.relkind IN ('r', 'p')
AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_depend AS depends
    WHERE depends.classid = CAST('pg_class' AS regclass) AND depends.objid = tables.oid AND depends.deptype = 'e')
"""
"""All tables but those of extensions."""
_CREATE = """
CREATE TABLE schema (only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1), version INTEGER NOT NULL);
INSERT INTO schema VALUES (1, 0);
"""


def migrations() -> list[str]:
    """Return the text of every migration; the first brings a database from version 0 to version 1, and so on."""
    folder = files("ci_persistence.postgresql") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1)), f"a migration is missing: {names}"
    return [(folder / name).read_text("utf-8") for name in names]


async def bring_up_to_date(server: Server, connection: Connection) -> None:
    """Apply the migrations that the database does not have yet.

    Raises Unavailable where the server is too old, the database is another program's or a newer version's, or has no
    Unicode.
    """
    try:
        await check_server(server, connection)
        await migrate(server, connection, migrations())
    except psycopg.Error as exc:
        error = server.product_error(exc)
        if error is exc:
            raise
        raise error from exc


async def migrate(server: Server, connection: Connection, scripts: list[str]) -> None:
    """Apply those of `scripts` that the database does not have yet, each in one transaction.

    Several processes may do so at once. Raises Unavailable where the database is another program's, or has more than
    there are scripts.
    """
    while (version := await _version(connection)) < len(scripts):
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK:d})".encode())
            if await _version(connection) != version:
                continue  # Another process was quicker.
            if not await _one(connection, _HAS_VERSION):
                if tables := await tables_of(connection):
                    raise Unavailable(
                        f"the database {server.name} is not one of ci-server's: it has the table {min(tables)}; "
                        f"{server.variable} names another place"
                    )
                await connection.execute(_CREATE.encode())
            await connection.execute(scripts[version].encode())
            await connection.execute(f"UPDATE schema SET version = {version + 1:d}".encode())
    if version > len(scripts):
        raise Unavailable(
            f"the database has schema version {version}, and this version of the program knows only {len(scripts)}; "
            "a newer one has written it: use that one"
        )


async def tables_of(connection: Connection) -> list[str]:
    """Return the tables of the schema in which ours are, or would be."""
    return await _column(connection, _TABLES)


async def check_ours(server: Server, connection: Connection) -> int:
    """Return the number of migrations that the database has, one or more.

    Raises Unavailable where it has none, or more than this program knows.
    """
    version, newest = await _version(connection), len(migrations())
    if version > newest:
        raise Unavailable(
            f"the database {server.name} has schema version {version}, and this version of the program knows only "
            f"{newest}: use the newer one that has written it"
        )
    if version == 0:
        raise Unavailable(f"the database {server.name} is not one of ci-server's; {server.variable} names another")
    return version


async def check_server(server: Server, connection: Connection) -> None:
    """Raise Unavailable where the server is too old, or the database has no Unicode or no schema."""
    if connection.info.server_version < _OLDEST * 10_000:
        found = await _one(connection, "SHOW server_version")
        raise Unavailable(f"the database {server.name} is of PostgreSQL {found}, and {_OLDEST} or newer is needed")
    if (encoding := await _one(connection, "SHOW server_encoding")) != "UTF8":
        raise Unavailable(
            f"the database {server.name} has the encoding {encoding}, and UTF8 is needed; "
            "create it with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    if await _one(connection, "SELECT current_schema()") is None:
        raise Unavailable(f"the database {server.name} has none of the schemas that its search_path names")


async def _version(connection: Connection) -> int:
    """Return the number of migrations that the database has."""
    if not await _one(connection, _HAS_VERSION):
        return 0
    return int(await _one(connection, "SELECT version FROM schema"))


async def _one(connection: Connection, query: str) -> Any:
    (value,) = await _column(connection, query)
    return value


async def _column(connection: Connection, query: str) -> list[Any]:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query.encode())
        return [row[0] for row in await cursor.fetchall()]
