"""A proxy before a PostgreSQL server, which cuts connections at the worst moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ci_common.configuration.database_address import DatabaseUrl

AtCommit = Literal["forward", "drop", "lose answer", "delay"]
"""What becomes of a COMMIT and its connection.

It is forwarded; or both ends are cut instead; or it is forwarded, and both ends are cut when the server answers; or the
client's end is cut, and it is forwarded later.
"""


class Proxy:
    """Forwards connections to a port, by default of this machine, until it is told otherwise."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.target = target
        self._host = host
        self.port = 0
        self.at_commit: AtCommit = "forward"
        """For the next COMMIT only."""
        self.commits = 0
        """How many have been seen."""
        self.has_spoiled = asyncio.Event()
        """Set when a COMMIT was not forwarded as usual."""
        self.may_forward = asyncio.Event()
        """Cleared while nothing is forwarded in either direction."""
        self.may_forward.set()
        self.may_commit = asyncio.Event()
        """Set when a COMMIT that is delayed may be forwarded."""
        self.is_refusing = False
        """Whether new connections are closed at once."""
        self.connections = 0
        """How many there have been."""
        self._connections: set[_Connection] = set()

    def cut(self) -> None:
        """Cut all connections, both ends."""
        for connection in tuple(self._connections):
            connection.cut()

    @asynccontextmanager
    async def run(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.may_forward.set()
            self.may_commit.set()
            while self._connections:
                self.cut()
                await asyncio.sleep(0.001)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.is_refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(self._host, self.target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, writer, server_writer)
        self._connections.add(connection)
        try:
            await asyncio.gather(connection.send(reader), connection.answer(server_reader))
        finally:
            connection.cut()
            self._connections.discard(connection)


def proxy_of(url: DatabaseUrl) -> Proxy | None:
    """Return a proxy before the server of `url`, not yet run; None where it has several hosts, or a local socket."""
    parts = urlsplit(url.text)
    given = dict(parse_qsl(parts.query))
    place = parts.netloc.rpartition("@")[2]
    if "," in place or not parts.hostname or {"host", "hostaddr", "port", "service"} & given.keys():
        return None
    return Proxy(parts.port or 5432, parts.hostname)


def through(url: DatabaseUrl, proxy: Proxy) -> DatabaseUrl:
    """Return the URL of the same database through a running proxy; its certificate is checked for the same name."""
    parts = urlsplit(url.text)
    login, at, place = parts.netloc.rpartition("@")
    host = place.removesuffix(f":{parts.port}") if parts.port else place.rstrip(":")
    query = urlencode({**dict(parse_qsl(parts.query)), "hostaddr": "127.0.0.1"}, quote_via=quote)
    return DatabaseUrl.parse(parts._replace(netloc=f"{login}{at}{host}:{proxy.port}", query=query).geturl())


class _Connection:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._is_delayed = False
        self._loses_answer = False

    def cut(self) -> None:
        self._client.transport.abort()
        self._server.transport.abort()

    async def send(self, reader: asyncio.StreamReader) -> None:
        """Forward what the client sends."""
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._proxy.may_forward.wait()
                if b"COMMIT" in data and b"BEGIN" not in data and not await self._may_commit():
                    break
                self._server.write(data)
                await self._server.drain()
        if not self._is_delayed:
            self.cut()

    async def answer(self, reader: asyncio.StreamReader) -> None:
        """Forward what the server sends."""
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._proxy.may_forward.wait()
                if self._loses_answer or self._is_delayed:
                    break
                self._client.write(data)
                await self._client.drain()
        self.cut()

    async def _may_commit(self) -> bool:
        """Return whether a COMMIT is forwarded."""
        self._proxy.commits += 1
        at_commit, self._proxy.at_commit = self._proxy.at_commit, "forward"
        if at_commit != "forward":
            self._proxy.has_spoiled.set()
        if at_commit == "delay":
            self._is_delayed = True
            self._client.transport.abort()
            await self._proxy.may_commit.wait()
        self._loses_answer = at_commit == "lose answer"
        return at_commit != "drop"
