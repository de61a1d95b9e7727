"""A schema of its own in a database that exists, for a self-test. It is dropped with all that is in it."""

import time
from collections.abc import Callable
from urllib.parse import quote

import psycopg
from psycopg.sql import Literal

from ci_common.configuration.database_address import DatabaseUrl
from ci_common.system.processes import ProcessIdentity, this_process
from ci_persistence.postgresql.connections import Connection, Server
from ci_persistence.postgresql.dumps import connected

_LOCK_SECONDS = 60
_PREFIX = "ci_selftest_"
_END_SESSIONS = b"""
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
WHERE application_name = $1 AND pid <> pg_backend_pid()
"""
_WITH_OWNERS = b"""
SELECT nspname AS name, obj_description(oid, 'pg_namespace') AS owner FROM pg_namespace WHERE starts_with(nspname, $1)
"""


def within(url: DatabaseUrl, schema: str) -> DatabaseUrl:
    """Return the URL of a schema in the database of `url`. Its sessions have the schema's name, too."""
    option = quote(f"-csearch_path={schema}", safe="")
    return DatabaseUrl.parse(f"{url.text}{'&' if '?' in url.text else '?'}options={option}&application_name={schema}")


async def create(url: DatabaseUrl, schema: str) -> None:
    """Make an empty schema, which belongs to this process. Raises Unavailable."""
    owner = Literal(this_process().to_json()).as_string()
    async with connected(Server(url.text)) as connection:
        # One transaction, so that no schema is without its owner.
        await connection.execute(f'CREATE SCHEMA "{schema}"; COMMENT ON SCHEMA "{schema}" IS {owner}'.encode())


async def drop(url: DatabaseUrl, schema: str) -> None:
    """Remove a schema with all that is in it. Raises Unavailable."""
    async with connected(Server(url.text)) as connection:
        await _drop(connection, schema)


async def drop_abandoned(url: DatabaseUrl) -> list[str]:
    """Remove the schemas of processes of this machine that have ended, and return their names. Raises Unavailable.

    A schema of another machine stays, since its process may still run.
    """
    async with connected(Server(url.text)) as connection:
        found = await (await connection.execute(_WITH_OWNERS, [_PREFIX])).fetchall()
        dropped = [row["name"] for row in found if _is_abandoned(row["owner"] or "")]
        for schema in dropped:
            await connection.execute(_END_SESSIONS, [schema])
            await _drop(connection, schema)
    return dropped


def _is_abandoned(owner: str) -> bool:
    try:
        process = ProcessIdentity.from_json(owner)
    except ValueError:
        return False
    return process.is_here() and not process.is_alive()


async def end_sessions(url: DatabaseUrl) -> int:
    """End the sessions that have the name of this one, and return how many there were. Raises Unavailable."""
    server = Server(url.text)
    async with connected(server) as connection:
        found = await (await connection.execute(_END_SESSIONS, [server.parameters["application_name"]])).fetchone()
    return int(found["ended"]) if found else 0


async def _drop(connection: Connection, schema: str) -> None:
    await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'.encode())


def hold_lock(url: DatabaseUrl, seconds: float, on_locked: Callable[[], None]) -> None:
    """Lock the jobs so that no other connection reads or writes them, as a migration might. Blocks."""
    with psycopg.connect(Server(url.text).conninfo, autocommit=True) as connection:
        connection.execute(f"BEGIN; SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'; LOCK TABLE jobs".encode())
        on_locked()
        time.sleep(seconds)
        connection.execute(b"ROLLBACK")
