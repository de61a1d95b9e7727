"""A proxy between a browser and the service, that does to streams what proxies of companies do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_HEAD_END: Final = b"\r\n\r\n"
_SLOW_BYTES: Final = 256


@dataclass
class Proxy:
    """Where the proxy listens, and what it does."""

    url: str = ""
    holds_streams_back: bool = True
    """Whether it gives a stream to the browser only once it has ended."""
    pause: float = 0.0
    """Seconds between two pieces of an answer, for a line that is slow."""
    streams: int = 0
    """How many streams were asked for."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """End all connections that there are now."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def running_proxy(upstream: str, *, holds_streams_back: bool = True, pause: float = 0.0) -> AsyncIterator[Proxy]:
    """Run a proxy before `upstream`, a URL."""
    proxy = Proxy(holds_streams_back=holds_streams_back, pause=pause)
    target = urlsplit(upstream)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        proxy._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await _exchange(proxy, (target.hostname or "", target.port or 80), reader, writer)
        finally:
            proxy._tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.url = f"http://127.0.0.1:{port}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(proxy._tasks):
            task.cancel()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)


async def _exchange(
    proxy: Proxy, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass on one request and its answer; the connection ends with them."""
    head = await reader.readuntil(_HEAD_END)
    lines = head.removesuffix(_HEAD_END).split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    sizes = [int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")]
    body = await reader.readexactly(sizes[0] if sizes else 0)
    path = lines[0].split(b" ")[1]
    is_stream = path.endswith(b"/stream") or path.startswith(b"/events")
    proxy.streams += is_stream
    answer, request = await asyncio.open_connection(*target)
    left = asyncio.create_task(reader.read())
    try:
        request.write(b"\r\n".join([*kept, b"Connection: close"]) + _HEAD_END + body)
        await request.drain()
        passing = asyncio.create_task(_pass_on(proxy, answer, writer, held=is_stream and proxy.holds_streams_back))
        await asyncio.wait({left, passing}, return_when=asyncio.FIRST_COMPLETED)
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)
    finally:
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        request.close()


async def _pass_on(proxy: Proxy, answer: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
    if held:
        writer.write(await answer.read())
    while piece := await answer.read(_SLOW_BYTES if proxy.pause else 1 << 16):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(proxy.pause)
    await writer.drain()
