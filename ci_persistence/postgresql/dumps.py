"""Dumps of a database: taken with pg_dump while it is in use, and restored with pg_restore into an empty one."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ci_common.errors import Unavailable
from ci_persistence.dialects import Statement
from ci_persistence.postgresql.connections import Connection, Server
from ci_persistence.postgresql.programs import find_program, run_program
from ci_persistence.postgresql.schema import check_ours, tables_of
from ci_persistence.postgresql.session import PostgreSQLSession
from ci_persistence.stores.installations import Installation, get_installation

_BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0"
_EXPORT = Statement("SELECT pg_export_snapshot() AS snapshot")
_IDS = Statement("SELECT id FROM jobs")


@dataclass(frozen=True, slots=True)
class Dump:
    """What is in a dump."""

    installation: Installation
    job_ids: frozenset[str]


class Dumps:
    """Dumps of one database. Every method raises Unavailable, also where a program is missing or too old."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL that cannot be read."""
        self._server = Server(url)

    async def take(self, target: Path) -> Dump:
        """Write the database as it is at one moment to `target`, in pg_dump's custom format."""
        server = self._server
        async with connected(server) as connection:
            await check_ours(server, connection)
            program = await find_program("pg_dump", major_version(connection))
            await connection.execute(_BEGIN)
            session = PostgreSQLSession(server, connection)
            snapshot = (await session.row(_EXPORT))["snapshot"]
            dump = Dump(await get_installation(session), frozenset(row["id"] for row in await session.rows(_IDS)))
            target.touch(mode=0o600, exist_ok=False)
            await run_program(server, program, "--format=custom", f"--snapshot={snapshot}", f"--file={target}")
            await connection.execute(b"ROLLBACK")
        return dump

    async def obstacle(self) -> str:
        """Return what the database has that is in the way of a restore; empty where it has no tables."""
        async with connected(self._server) as connection:
            tables = await tables_of(connection)
        return f"the database {self._server.name} has the table {min(tables)}" if tables else ""

    async def load(self, source: Path) -> None:
        """Restore a dump into the empty database, whole or not at all, but for the row of the installation.

        Without that row neither a server nor a controller starts with the database.
        """
        async with connected(self._server) as connection:
            program = await find_program("pg_restore", major_version(connection))
        with tempfile.TemporaryDirectory(prefix="ci-restore-") as directory:
            contents = Path(directory) / "contents"
            listed = await _contents(program, source)
            contents.write_text("\n".join(line for line in listed if not _is_installation(line)) + "\n")
            await run_program(
                self._server,
                program,
                *("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"),
                *(f"--use-list={contents}", str(source)),
            )


def _is_installation(line: str) -> bool:
    return " TABLE DATA " in line and " installation " in line


async def _contents(program: Path, source: Path) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        program, "--list", source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise Unavailable(f"{source} is not a dump that {program} can read: {errors.decode(errors='replace').strip()}")
    return output.decode(errors="replace").splitlines()


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Connection]:
    """A connection, closed at the end. Raises Unavailable, also for errors of statements."""
    connection = await server.connect()
    try:
        yield connection
    except psycopg.Error as exc:
        error = server.product_error(exc)
        raise (server.unavailable(str(error)) if error is exc else error) from exc
    finally:
        await connection.close()


def major_version(connection: Connection) -> int:
    return connection.info.server_version // 10_000
