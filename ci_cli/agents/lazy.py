"""A connection that is made when it is first needed, and kept until the block ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ci_cli.connection import Connection, connected


class LazyConnection:
    """The connection of a command that may never need one. An embedded server is started only if it is needed."""

    def __init__(self, server: str | None) -> None:
        self._server = server
        self._needed: asyncio.Queue[asyncio.Future[Connection]] = asyncio.Queue()
        self._connection: Connection | None = None

    async def get(self) -> Connection:
        """Return the connection. Raises what `connected` raises; the next call then tries again."""
        if self._connection is None:
            made: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
            self._needed.put_nowait(made)
            return await made
        return self._connection

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Allow connections while the block runs. One task makes and closes them, as their contexts demand."""
        holder = asyncio.create_task(self._hold())
        try:
            yield
        finally:
            holder.cancel()
            with suppress(asyncio.CancelledError):
                await holder

    async def _hold(self) -> None:
        while True:
            made = await self._needed.get()
            try:
                async with connected(self._server, carries_jobs=True) as connection:
                    self._connection = connection
                    while True:
                        if not made.done():
                            made.set_result(connection)
                        made = await self._needed.get()
            except Exception as exc:
                if not made.done():
                    made.set_exception(exc)
            finally:
                self._connection = None
