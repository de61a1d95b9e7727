"""Both databases with the product's stores on them, and PostgreSQL with a bare psycopg loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from bench.frame.model import LeftOut
from bench.store import fill
from ci_common.configuration.database_address import DatabaseAddress, DatabaseUrl
from ci_common.jobs import Conclusion, Job, State
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_persistence.job_lists import JobFilter
from ci_persistence.open import open_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.jobs import PLENTY, new_job
from tests.helpers.postgresql.server import PostgreSQLServer, running_server

WRITERS = 64
"""How many callers of ours write at a time."""
CONNECTIONS = 8
"""How many connections the bare loop has; more make it no faster."""

FINISHED = """
INSERT INTO jobs (id, type, submit_time, owner, priority, project, labels, payload, has_upload, max_attempts, state,
                  version, end_time, conclusion)
SELECT '01900000-' || lpad(to_hex(i / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(i), 12, '0'), 'echo', {first} + i,
       '', 0, 'p' || (i % 100), '{{}}', '{{}}', 0, 1, 'completed', 3, {first} + i + 1000, 'succeeded'
FROM generate_series(0, {rows} - 1) AS i;
INSERT INTO attempts (job_id, number, runtime, start_time, end_time, conclusion, exit_code, log_bytes, log_sha256)
SELECT id, 1, 'builtin', submit_time, end_time, conclusion, 0, 0, '' FROM jobs WHERE id LIKE '01900000-%';
ANALYZE
"""
_BARE_ROWS = """
INSERT INTO bare (id, state, version, payload) SELECT '-' || lpad(CAST(i AS text), 19, '0'), 'completed', 3, '{}'
FROM generate_series(1, %s) AS i
"""
_SIZE = """
SELECT CAST(sum(pg_total_relation_size(relid)) AS bigint), CAST(sum(n_dead_tup) AS bigint) FROM pg_stat_user_tables
"""


@contextmanager
def durable_server() -> Iterator[PostgreSQLServer]:
    """Run a PostgreSQL server that synchronises every commit to disk. Raises LeftOut without its programs."""
    try:
        with running_server(durable=True) as server:
            yield server
    except (pytest.skip.Exception, pytest.fail.Exception) as exc:
        raise LeftOut(str(exc)) from exc


@asynccontextmanager
async def both(directory: Path, server: PostgreSQLServer) -> AsyncIterator[dict[str, "Stored"]]:
    """Yield a new database of each kind, by name."""
    async with AsyncExitStack() as stack:
        addresses = {
            "SQLite": DatabaseAddress(path=directory / f"{server.create_database()}.db"),
            "PostgreSQL": DatabaseAddress(url=DatabaseUrl.parse(server.url(server.create_database()))),
        }
        yield {name: await stack.enter_async_context(stored(address)) for name, address in addresses.items()}


@asynccontextmanager
async def stored(address: DatabaseAddress) -> AsyncIterator["Stored"]:
    """Open a database twice, as an API and a leading controller do."""
    async with open_storage(address) as api, open_storage(address) as controller:
        lease = await controller.leases.acquire(this_process(), 3600)
        assert lease is not None
        yield Stored(address, api, controller, lease)


@dataclass(frozen=True)
class Stored:
    """One database."""

    address: DatabaseAddress
    api: Storage
    controller: Storage
    lease: Lease

    async def submissions(self, number: int) -> float:
        """Submit so many jobs; return the rate."""
        return await _rate(number, lambda: self.api.jobs.add(new_job(), max_queued=PLENTY))

    async def pickups(self, number: int) -> float:
        """Write STARTING for so many queued jobs; return the rate."""
        adding = (self.api.jobs.add(new_job(), max_queued=PLENTY) for _ in range(number))
        queued = iter(await asyncio.gather(*adding))
        return await _rate(number, lambda: self.starting(next(queued)))

    async def starting(self, job: Job) -> Job:
        return await self.controller.jobs.update(job, self.lease, state=State.STARTING, runtime="builtin", reason=None)

    async def start(self) -> float:
        """Return the milliseconds from a submission until the controller, which is told of it, has written RUNNING."""
        async with aclosing(self.controller.jobs.changes()) as changes:
            await anext(changes)
            begun = time.perf_counter()
            job = await self.api.jobs.add(new_job(), max_queued=PLENTY)
            while job.id not in await self.controller.jobs.get_many([job.id]):
                await anext(changes)
            await self.controller.jobs.update(await self.starting(job), self.lease, **_running())
            return (time.perf_counter() - begun) * 1000

    async def lists(self, number: int) -> float:
        """List the newest 50 jobs so many times; return the rate."""
        begun = time.perf_counter()
        for _ in range(number):
            assert len(await self.api.jobs.list_jobs(JobFilter(), limit=50)) == 50
        return number / (time.perf_counter() - begun)

    async def live(self, number: int) -> None:
        """Take so many jobs from their submission to their deletion."""

        async def one() -> None:
            job = await self.starting(await self.api.jobs.add(new_job(), max_queued=PLENTY))
            job = await self.controller.jobs.update(job, self.lease, **_running())
            end = {"state": State.COMPLETED, "end_time": utc_now(), "conclusion": Conclusion.SUCCEEDED}
            await self.controller.jobs.update(job, self.lease, **end)
            ended.append(job.id)

        ended: list[str] = []
        await _rate(number, one)
        await self.controller.retention.delete(ended, lease=self.lease)
        await self.controller.retention.forget_removals(ended, self.lease)
        while await self.controller.outbox.prune(utc_now() + timedelta(hours=1), limit=1000):
            pass


def _running() -> dict[str, object]:
    return {"state": State.RUNNING, "start_time": utc_now()}


class BareLoop:
    """A loop of single statements of psycopg, each its own transaction, on tables like ours."""

    def __init__(self, connections: list[psycopg.AsyncConnection]) -> None:
        self._connections = connections
        self._numbers = count(1)

    async def submissions(self, number: int) -> float:
        """Insert so many rows; return the rate."""
        return await self._run(
            "INSERT INTO bare (id, state, version, payload) VALUES (%s, 'queued', 0, '{}')",
            [f"{next(self._numbers):020}" for _ in range(number)],
        )

    async def pickups(self, number: int) -> float:
        """Update so many rows by compare-and-set; return the rate."""
        ids = [f"{next(self._numbers):020}" for _ in range(number)]
        await self._run("INSERT INTO bare (id, state, version, payload) VALUES (%s, 'queued', 0, '{}')", ids)
        return await self._run("UPDATE bare SET state = 'starting', version = 1 WHERE id = %s AND version = 0", ids)

    async def lists(self, number: int) -> float:
        """Select the newest 50 rows so many times; return the rate."""
        begun = time.perf_counter()
        for _ in range(number):
            found = await self._connections[0].execute("SELECT * FROM bare ORDER BY id DESC LIMIT 50")
            assert len(await found.fetchall()) == 50
        return number / (time.perf_counter() - begun)

    async def fill(self, rows: int) -> None:
        """Insert rows before the others."""
        await self._connections[0].execute(_BARE_ROWS, [rows])
        await self._connections[0].execute("ANALYZE bare")

    async def _run(self, statement: str, ids: list[str]) -> float:
        left = iter(ids)

        async def work(connection: psycopg.AsyncConnection) -> None:
            for job_id in left:
                await connection.execute(statement.encode(), [job_id])

        begun = time.perf_counter()
        await asyncio.gather(*map(work, self._connections))
        return len(ids) / (time.perf_counter() - begun)


@asynccontextmanager
async def bare_loop(server: PostgreSQLServer) -> AsyncIterator[BareLoop]:
    """Connect a bare loop to a database of its own."""
    name = server.create_database()
    server.run("CREATE TABLE bare (id text PRIMARY KEY, state text, version bigint, payload text)", name)
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(await psycopg.AsyncConnection.connect(server.url(name), autocommit=True))
            for _ in range(CONNECTIONS)
        ]
        yield BareLoop(connections)


def fill_both(server: PostgreSQLServer, databases: dict[str, Stored], rows: int) -> None:
    """Insert recently ended jobs."""
    path = databases["SQLite"].address.path
    assert path is not None
    fill(path, rows)
    first = int((time.time() - 7200) * 1_000_000)
    server.run(FINISHED.format(rows=rows, first=first), database_name(databases["PostgreSQL"]))


def database_name(stored: Stored) -> str:
    """Return the name of a server's database."""
    return str(stored.address.url).rpartition("/")[2]


def size_of(server: PostgreSQLServer, stored: Stored) -> tuple[int, int]:
    """Return the bytes of a database's tables with their indexes, and the number of its dead rows."""
    ((size, dead),) = server.run(_SIZE, database_name(stored))
    return int(size), int(dead)


async def _rate(number: int, act: Callable[[], Awaitable[object]]) -> float:
    left = iter(range(number))

    async def work() -> None:
        for _ in left:
            await act()

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(WRITERS)))
    return number / (time.perf_counter() - begun)
