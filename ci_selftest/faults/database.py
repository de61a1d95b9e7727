"""Hurts the connections between the parts and a server's database, and the server where it belongs to the run."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal, Protocol

from ci_common.configuration.database_address import DatabaseAddress, DatabaseUrl
from ci_common.errors import Unavailable
from ci_persistence.scratch import end_sessions
from ci_selftest.faults.database_proxy import Proxy, proxy_of, through

_COMMIT_WITHIN_SECONDS = 20.0


class OwnServer(Protocol):
    """A database server that the run may kill and stop."""

    async def end(self, how: Literal["kill", "immediate", "fast"]) -> None:
        """Kill the server, or stop it as `pg_ctl stop -m` does."""

    async def begin(self) -> None:
        """Start it again, and return once it answers."""


class DatabaseFaults:
    """The faults of one run's database. Each part has a proxy of its own before the server."""

    def __init__(self, url: DatabaseUrl, proxies: Mapping[str, Proxy], server: OwnServer | None) -> None:
        """`proxies` are those of the parts by name, and run; empty where none can be before the server."""
        self._url = url
        self._proxies = proxies
        self._server = server
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def has_own_server(self) -> bool:
        return self._server is not None

    def addresses(self) -> dict[str, DatabaseAddress]:
        """Return where each part finds the database, by name; empty where there are no proxies."""
        return {name: DatabaseAddress(url=through(self._url, proxy)) for name, proxy in self._proxies.items()}

    async def cut(self, part: str, seconds: float) -> bool:
        """Cut a part's connections and refuse new ones for so long; return whether that was possible."""

        async def act(proxy: Proxy) -> bool:
            proxy.is_refusing = True
            proxy.cut()
            await asyncio.sleep(seconds)
            proxy.is_refusing = False
            return True

        return await self._with_proxy(part, act)

    async def hold(self, part: str, seconds: float) -> bool:
        """Forward nothing in either direction for so long; return whether that was possible."""

        async def act(proxy: Proxy) -> bool:
            proxy.may_forward.clear()
            await asyncio.sleep(seconds)
            proxy.may_forward.set()
            return True

        return await self._with_proxy(part, act)

    async def lose_commit(self, part: str, *, is_carried_out: bool) -> bool:
        """Cut the connection at a part's next commit, so that it cannot know the outcome; return whether there was one.

        Over TLS a commit cannot be recognised.
        """

        async def act(proxy: Proxy) -> bool:
            proxy.at_commit = "lose answer" if is_carried_out else "drop"
            proxy.has_spoiled.clear()
            try:
                async with asyncio.timeout(_COMMIT_WITHIN_SECONDS):
                    await proxy.has_spoiled.wait()
            except TimeoutError:
                proxy.at_commit = "forward"
                return False
            return True

        return await self._with_proxy(part, act)

    async def end_sessions(self) -> bool:
        """Have the server end all sessions of the run; return whether there were any."""
        try:
            return await end_sessions(self._url) > 0
        except Unavailable:
            return False

    async def end_server(self, how: Literal["kill", "immediate", "fast"], seconds: float) -> bool:
        """End the server for so long."""
        assert self._server is not None, "only these runs have the fault"
        async with self._turns["server"]:
            await self._server.end(how)
            await asyncio.sleep(seconds)
            await self._server.begin()
        return True

    async def _with_proxy(self, part: str, act: Callable[[Proxy], Awaitable[bool]]) -> bool:
        if part not in self._proxies:
            return False
        async with self._turns[part]:
            return await act(self._proxies[part])


@asynccontextmanager
async def faults_before(
    address: DatabaseAddress, parts: Iterable[str], server: OwnServer | None
) -> AsyncIterator[DatabaseFaults | None]:
    """Yield the faults of a run's database, whose proxies run until the end; None for a file."""
    if address.url is None:
        yield None
        return
    async with AsyncExitStack() as stack:
        proxies: dict[str, Proxy] = {}
        for part in parts:
            proxy = proxy_of(address.url)
            if proxy is not None:
                proxies[part] = await stack.enter_async_context(proxy.run())
        yield DatabaseFaults(address.url, proxies, server)
