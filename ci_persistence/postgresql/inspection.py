"""Inspects a database without changing it, also while the product uses it."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from functools import partial

import psycopg

from ci_common.errors import DatabaseUnavailable, Unavailable
from ci_common.findings import Finding
from ci_common.parsing.text import shown_size
from ci_common.times import to_micros, utc_now
from ci_persistence.dialects import Statement
from ci_persistence.postgresql.connections import Connection, Server
from ci_persistence.postgresql.dumps import connected
from ci_persistence.postgresql.schema import check_ours, check_server, migrations, tables_of
from ci_persistence.postgresql.session import PostgreSQLSession
from ci_persistence.stores.inspection import (
    DatabaseReport,
    DatabaseTrouble,
    Trouble,
    cache_rows,
    environment_rows,
    jobs_or_removals,
    leadership,
    newest_time,
    sealed_secrets,
    unfinished_jobs,
)
from ci_persistence.stores.installations import get_installation

CONNECTIONS = 8
"""The most connections of one server or controller: four reads, two searches, a writer and a listener."""
_PATIENCE = 5.0
"""Seconds for the connection and all statements."""
_ARRIVES_WITHIN = 2.0
"""Seconds within which a notification has to arrive."""
_CLOCK_TOLERANCE = timedelta(seconds=2)
_LONG_TRANSACTION = timedelta(minutes=5)
_MANY_DEAD = 10_000

_ABOUT = Statement("""
SELECT current_setting('server_version') AS version, current_setting('server_encoding') AS encoding,
       pg_database_size(current_database()) AS bytes, pg_is_in_recovery() AS is_replica,
       CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS now
""")
_SETTINGS = Statement("""
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
""")
_SLOTS = Statement("""
SELECT CAST(current_setting('max_connections') AS integer)
       - CAST(current_setting('superuser_reserved_connections') AS integer)
       - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS free,
       CAST(current_setting('max_connections') AS integer) AS most
""")

# What keeps dead rows from being removed: transactions that have been open for long, and prepared ones.
_LONG = Statement("""
SELECT pid, coalesce(application_name, '') AS name, CAST(extract(epoch FROM now() - xact_start) AS integer) AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start < now() - CAST(:seconds AS integer) * interval '1 second'
UNION ALL
SELECT 0, gid, CAST(extract(epoch FROM now() - prepared) AS integer) FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < now() - CAST(:seconds AS integer) * interval '1 second'
ORDER BY seconds DESC LIMIT 1
""")
_BLOATED = Statement("""
SELECT relname, n_dead_tup AS dead, n_live_tup AS live FROM pg_stat_user_tables
WHERE schemaname = current_schema() AND n_dead_tup > :many AND n_dead_tup > n_live_tup ORDER BY n_dead_tup DESC LIMIT 1
""")
_SESSION = Statement("SELECT pg_backend_pid() AS pid")
_NOTIFY = Statement("SELECT pg_notify(:channel, '')")


class Inspection:
    """Inspects the database of one URL."""

    def __init__(self, url: str, listen_url: str | None) -> None:
        """Raises ValueError where a URL cannot be read."""
        self._server = Server(url)
        self._listen = Server(listen_url, "CI_DATABASE_LISTEN_URL") if listen_url else self._server

    async def report(self) -> DatabaseReport:
        """Inspect the database. Raises DatabaseTrouble."""
        try:
            async with asyncio.timeout(_PATIENCE), connected(self._server) as connection:
                return await self._report(connection)
        except TimeoutError as exc:
            message = f"it has not answered within {_PATIENCE:g} s"
            raise self._trouble(Trouble.UNREACHABLE, message, "see what keeps it busy: pg_stat_activity") from exc
        except DatabaseUnavailable as exc:
            remedy = f"start it, or correct {self._server.variable}: psql shows whether it can be reached"
            raise self._trouble(Trouble.UNREACHABLE, str(exc), remedy) from exc

    async def jobs_with_rows(self, job_ids: Collection[str]) -> set[str]:
        """Return those of the ids that have a row or a removal. Raises DatabaseTrouble."""
        try:
            async with connected(self._server) as connection:
                session = PostgreSQLSession(self._server, connection)
                return await partial(jobs_or_removals, job_ids=list(job_ids))(session)
        except Unavailable as exc:
            raise self._trouble(Trouble.UNREACHABLE, str(exc), "try again: ci doctor") from exc

    async def environment_references(self) -> set[str]:
        """Return where the prepared environments are, of all that have a row. Raises DatabaseTrouble."""
        try:
            async with connected(self._server) as connection:
                return await environment_rows(PostgreSQLSession(self._server, connection))
        except Unavailable as exc:
            raise self._trouble(Trouble.UNREACHABLE, str(exc), "try again: ci doctor") from exc

    async def cache_ids(self) -> set[str]:
        """Return the ids of all caches that have a row. Raises DatabaseTrouble."""
        try:
            async with connected(self._server) as connection:
                return await cache_rows(PostgreSQLSession(self._server, connection))
        except Unavailable as exc:
            raise self._trouble(Trouble.UNREACHABLE, str(exc), "try again: ci doctor") from exc

    async def sealed_texts(self) -> set[str]:
        """Return the ciphertexts of all secrets. Raises DatabaseTrouble."""
        try:
            async with connected(self._server) as connection:
                return await sealed_secrets(PostgreSQLSession(self._server, connection))
        except Unavailable as exc:
            raise self._trouble(Trouble.UNREACHABLE, str(exc), "try again: ci doctor") from exc

    async def _report(self, connection: Connection) -> DatabaseReport:
        version = await self._schema_version(connection)
        session = PostgreSQLSession(self._server, connection)
        return DatabaseReport(
            findings=(
                *await self._about(session, version),
                await self._durability(session),
                await self._connections(session),
                await self._notifications(connection),
                *await self._dead_rows(session),
            ),
            is_current=version == len(migrations()),
            leadership=await leadership(session),
            installation=await get_installation(session) if version == len(migrations()) else None,
            unfinished=await unfinished_jobs(session),
            newest=await newest_time(session),
        )

    async def _schema_version(self, connection: Connection) -> int:
        try:
            await check_server(self._server, connection)
            if not await tables_of(connection):
                place = f"{self._server.name} has no tables yet; the first start makes them"
                raise DatabaseTrouble(Trouble.MISSING, "it is empty", Finding("database", True, place))
            return await check_ours(self._server, connection)
        except DatabaseUnavailable:
            raise
        except Unavailable as exc:
            raise self._trouble(Trouble.FOREIGN, str(exc), f"name another one with {self._server.variable}") from exc

    async def _about(self, session: PostgreSQLSession, version: int) -> list[Finding]:
        before = utc_now()
        row = await session.row(_ABOUT)
        after = utc_now()
        what = (
            f"{self._server.name}, PostgreSQL {row['version']}, {row['encoding']}, schema version {version}, "
            f"{shown_size(row['bytes'])}"
        )
        if row["is_replica"]:
            return [Finding("database", False, f"{what}: a replica, which takes no writes", "name the primary server")]
        if version < len(migrations()):
            what += f"; the next start brings it to schema version {len(migrations())}"
        findings = [Finding("database", True, what)]
        ahead = max(row["now"] - to_micros(after), to_micros(before) - row["now"])
        if ahead > _CLOCK_TOLERANCE / timedelta(microseconds=1):
            message = f"the clocks of the database's server and of this machine differ by {ahead / 1e6:.1f} s"
            findings.append(Finding("database clock", None, message, "set both clocks: timedatectl set-ntp true"))
        return findings

    async def _durability(self, session: PostgreSQLSession) -> Finding:
        found = {row["name"]: row["setting"] for row in await session.rows(_SETTINGS)}
        off = sorted(name for name, value in found.items() if value == "off")
        if not off:
            return Finding("database durability", True, ", ".join(f"{name} {found[name]}" for name in sorted(found)))
        message = f"{', '.join(off)}: off, so a crash of the server can lose or damage what was committed"
        remedy = "; ".join(f"ALTER SYSTEM SET {name} = on" for name in off) + "; SELECT pg_reload_conf()"
        return Finding("database durability", False, message, remedy)

    async def _connections(self, session: PostgreSQLSession) -> Finding:
        row = await session.row(_SLOTS)
        message = f"{row['free']} of {row['most']} are free; each server and each controller uses up to {CONNECTIONS}"
        if row["free"] < 2 * CONNECTIONS:
            remedy = "end what is idle, or ALTER SYSTEM SET max_connections to more, and restart the server"
            return Finding("database connections", None, message, remedy)
        return Finding("database connections", True, message)

    async def _notifications(self, connection: Connection) -> Finding:
        """Listen where the product would, and find out whether a pooler gives transactions other sessions."""
        name = "database notifications"
        is_pooled = await self._is_pooled(connection)
        try:
            arrived = await self._arrives(connection)
        except Unavailable as exc:
            return Finding(name, False, str(exc), f"correct {self._listen.variable}")
        pooler = "; a pooler is between, in transaction mode" if is_pooled else ""
        if arrived:
            return Finding(name, True, f"they arrive from {self._listen.name}{pooler}")
        message = f"they do not arrive from {self._listen.name}, so changes are seen up to a second late{pooler}"
        return Finding(name, None, message, "set CI_DATABASE_LISTEN_URL to the address of the server itself")

    async def _arrives(self, connection: Connection) -> bool:
        channel = f"ci_doctor_{id(self):x}"
        listening = await self._listen.connect(keeps_notifications=True)
        try:
            await listening.execute(f"LISTEN {channel}".encode())
            await PostgreSQLSession(self._server, connection).rows(_NOTIFY, {"channel": channel})
            async for _ in listening.notifies(timeout=_ARRIVES_WITHIN, stop_after=1):
                return True
            return False
        except psycopg.Error as exc:
            raise self._listen.unavailable(str(self._listen.product_error(exc))) from exc
        finally:
            await listening.close()

    async def _is_pooled(self, connection: Connection) -> bool:
        """Return whether another connection can have this one's session of the server."""
        own = (await PostgreSQLSession(self._server, connection).row(_SESSION))["pid"]
        async with connected(self._server) as other:
            return bool((await PostgreSQLSession(self._server, other).row(_SESSION))["pid"] == own)

    async def _dead_rows(self, session: PostgreSQLSession) -> list[Finding]:
        name, findings = "dead rows", []
        for row in await session.rows(_LONG, {"seconds": int(_LONG_TRANSACTION.total_seconds())}):
            which = f"process {row['pid']} ({row['name']})" if row["pid"] else f"the prepared transaction {row['name']}"
            message = f"{which} has had a transaction open for {row['seconds']} s, so no dead row can be removed"
            remedy = (
                f"SELECT pg_terminate_backend({row['pid']})" if row["pid"] else f"ROLLBACK PREPARED '{row['name']}'"
            )
            findings.append(Finding(name, None, message, remedy))
        for row in await session.rows(_BLOATED, {"many": _MANY_DEAD}):
            message = f"the table {row['relname']} has {row['dead']:,} dead rows and {row['live']:,} others"
            findings.append(Finding(name, None, message, f"VACUUM {row['relname']}, and see that autovacuum is on"))
        return findings

    def _trouble(self, kind: Trouble, message: str, remedy: str) -> DatabaseTrouble:
        return DatabaseTrouble(kind, message, Finding("database", False, f"{self._server.name}: {message}", remedy))


def versions() -> str:
    """Return the versions of the driver and of its library."""
    library = psycopg.pq.version()
    return f"psycopg {psycopg.__version__}, libpq {library // 10_000}.{library % 10_000}"
