"""Reads: a few connections for many readers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import psycopg

from ci_persistence.database import Operation
from ci_persistence.postgresql.connections import Connection, Disconnected, Server, is_idle
from ci_persistence.postgresql.session import PostgreSQLSession

Result = TypeVar("Result")

_SNAPSHOT = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class ReadPool:
    """At most `size` connections, each made when it is needed; readers get them in the order in which they came.

    `psycopg_pool` is not used: where the server is down, it lets every reader wait for its timeout and then does not
    say why.
    """

    def __init__(self, server: Server, size: int, *, seconds: float, prepares: bool) -> None:
        """`seconds` is how long a read may take, including its wait for a connection; see `Server.connect`."""
        self._server = server
        self._size = size
        self._seconds = seconds
        self._prepares = prepares
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self.is_open = False

    def open(self) -> None:
        """Allow reads. No connection is made yet."""
        self.is_open = True

    async def close(self) -> None:
        """Finish the running reads, refuse the waiting ones, and disconnect."""
        if not self.is_open:
            return
        self.is_open = False
        for _ in range(self._size):
            await self._free.acquire()
        while self._idle:
            await self._idle.pop().close()
        for _ in range(self._size):
            self._free.release()

    async def run(self, operation: Operation[Result], *, snapshot: bool = False) -> Result:
        """Return what `operation` returns. Raises Unavailable, also after `seconds`.

        It runs again where the connection had been lost before, for example because the server was restarted.
        """
        try:
            async with asyncio.timeout(self._seconds) as limit, self._free:
                while True:
                    was_used = bool(self._idle)
                    try:
                        async with self._connection() as connection:
                            return await self._run_on(connection, operation, snapshot=snapshot)
                    except Disconnected:
                        if not was_used:
                            raise
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise self._server.unavailable(f"a read took longer than {self._seconds:g} seconds") from exc

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if not self.is_open:
            raise self._server.unavailable("it is closed")
        connection = self._idle.pop() if self._idle else await self._server.connect(prepares=self._prepares)
        is_lost = False
        try:
            yield connection
        except Disconnected:
            is_lost = True
            raise
        finally:
            if is_idle(connection) and not is_lost:
                self._idle.append(connection)
            else:
                await connection.close()

    async def _run_on(self, connection: Connection, operation: Operation[Result], *, snapshot: bool) -> Result:
        session = PostgreSQLSession(self._server, connection)
        if not snapshot:
            return await operation(session)
        try:
            await connection.execute(_SNAPSHOT)
            try:
                result = await operation(session)
            except Exception:
                if session.failure is None:
                    await connection.execute(b"ROLLBACK")
                raise
            # Not where the reader was cancelled: an error would take the place of that. The connection is then closed.
            await connection.execute(b"ROLLBACK")
            return result
        except psycopg.Error as exc:
            raise self._server.product_error(exc) from exc
