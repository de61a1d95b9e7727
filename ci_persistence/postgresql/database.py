"""A `Database` on a PostgreSQL server."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar
from uuid import uuid4

import psycopg

from ci_common.errors import Unavailable
from ci_common.jobs import Job
from ci_persistence.changes import ChangeNotifier
from ci_persistence.database import Operation
from ci_persistence.group_writer import GroupWriter
from ci_persistence.postgresql.commit_watch import WritersWatch
from ci_persistence.postgresql.connections import Connection, Disconnected, Server
from ci_persistence.postgresql.pool import ReadPool
from ci_persistence.postgresql.schema import bring_up_to_date
from ci_persistence.postgresql.writer import Writer

Result = TypeVar("Result")

_READS = 4
_SEARCHES = 2
_SEARCH_PATIENCE = 5
"""How many times longer than a read a search may take."""
_RETRY_SECONDS = 0.2
_PASSES = (
    *("starting up", "shutting down", "recovery", "accepting connections", "terminating connection"),
    *("too many", "remaining connection slots"),
)
"""What a server says that will be there soon, also to those whose session it ends while it begins."""
_FORGET_WRITERS = b"DELETE FROM writers WHERE last_time < now() - interval '30 days'"


class PostgreSQLDatabase:
    """A `Database` on the server that `url` names, with at most eight connections.

    It works behind a pooler in transaction mode. `listen_url` is then the address of the server itself; without it,
    commits of other processes are seen a second late. Errors name the server and the database, and never the password.
    """

    def __init__(self, url: str, *, listen_url: str | None = None, patience: float = 60.0) -> None:
        """`patience` is how many seconds to wait for the server, for a lock and for an answer.

        Raises ValueError where a URL cannot be read.
        """
        self._server = Server(url)
        self._patience = patience
        self.writer_id = uuid4().hex[:16]
        """What this object is called in the table `writers`."""
        self._pool = ReadPool(self._server, _READS, seconds=patience, prepares=True)
        # The best plan of a search depends on what it looks for.
        self._searches = ReadPool(self._server, _SEARCHES, seconds=_SEARCH_PATIENCE * patience, prepares=False)
        self._writer = Writer(self._server, self.writer_id, patience=patience)
        listen = Server(listen_url, "CI_DATABASE_LISTEN_URL") if listen_url else self._server
        self._notifier = ChangeNotifier(WritersWatch(self._pool, listen, self.writer_id))
        self._group = GroupWriter(self._writer.commit, self._notifier, _do_nothing)

    async def open(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._patience
        while True:
            connection = await self._wait_for_server(deadline)
            try:
                await self._prepare(connection)
                break
            except Disconnected:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            finally:
                await connection.close()
        self._pool.open()
        self._searches.open()
        self._writer.is_open = True

    async def close(self) -> None:
        await self._group.finish()
        await self._writer.close()
        await self._pool.close()
        await self._searches.close()

    async def read(self, operation: Operation[Result], *, snapshot: bool = False) -> Result:
        return await self._pool.run(operation, snapshot=snapshot)

    async def search(self, operation: Operation[Result]) -> Result:
        return await self._searches.run(operation)

    async def write(self, operation: Operation[Result], *, certain: bool = False, vital: bool = True) -> Result:
        return await self._group.run(operation, certain=certain, vital=vital)

    def changes(self, on_row: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        return self._notifier.follow(on_row)

    async def _prepare(self, connection: Connection) -> None:
        try:
            await bring_up_to_date(self._server, connection)
            await connection.execute(_FORGET_WRITERS)
        except psycopg.Error as exc:
            raise self._server.product_error(exc) from exc

    async def _wait_for_server(self, deadline: float) -> Connection:
        """Return a connection. Raises Unavailable where waiting does not help, or has not helped by the deadline."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await self._server.connect()
            except Unavailable as exc:
                is_refused = "FATAL" in str(exc) and not any(words in str(exc) for words in _PASSES)
                if is_refused or loop.time() + _RETRY_SECONDS >= deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)


async def _do_nothing() -> None:
    pass
