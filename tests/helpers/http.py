"""HTTP as bytes over a socket, and server-sent events as the standard says."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools
import httpx

from tests.helpers.waiting import PATIENCE

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def get(target: bytes = b"/health", *headers: bytes) -> bytes:
    """Return a request after which the server closes the connection, with these further headers."""
    lines = [b"GET " + target + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", b""])


@dataclass
class Answer:
    """One answer to a request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False


class _Reading:
    """What the parser calls."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.answers.append(Answer())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answers[-1].headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.answers[-1].status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answers[-1].body += body

    def on_message_complete(self) -> None:
        self.answers[-1].complete = True


def answers_in(raw: bytes) -> list[Answer]:
    """Return the answers that these bytes are, in their order."""
    reading = _Reading()
    reading.parser.feed_data(raw)
    return reading.answers


class Wire:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, url: str) -> "Wire":
        address = urlsplit(url)
        return cls(*await asyncio.open_connection(address.hostname, address.port))

    async def send(self, *parts: bytes) -> None:
        """Send the parts, each once the one before has left."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def head(self) -> bytes:
        """Return the next answer's head."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def rest(self) -> bytes:
        """Return all that comes until the server ends the connection."""
        received = b""
        try:
            async with asyncio.timeout(PATIENCE):
                while chunk := await self.reader.read(65_536):
                    received += chunk
        except ConnectionResetError:
            pass  # Which ends it as well.
        return received

    def close(self) -> None:
        self.writer.transport.abort()


async def exchange(url: str, *parts: bytes, half_close: bool = False) -> list[Answer]:
    """Send the parts over a connection, and return the answers that come until the server ends it."""
    wire = await Wire.to(url)
    try:
        await wire.send(*parts)
        if half_close:
            wire.writer.write_eof()
        return answers_in(await wire.rest())
    finally:
        wire.close()


# Reading a stream of server-sent events, line by line, as the standard says.


@dataclass
class Seen:
    """What one reader has seen so far, over all its connections."""

    events: list[dict[str, Any]] = field(default_factory=list)
    last_id: str = ""
    text: str = ""
    exact: bytes = b""

    def take(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["type"] == "log":
            self.text += event["data"]
            self.exact += base64.b64decode(event["base64"]) if "base64" in event else event["data"].encode()

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def completed(self) -> bool:
        return bool(self.events) and self.events[-1]["type"] == "complete"


async def events_of(response: httpx.Response, seen: Seen) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a response, keeping `seen` up to date. An id counts once its event is there."""
    identifier = ""
    assert response.status_code == 200, await response.aread()
    assert response.headers["content-type"].startswith("text/event-stream")
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            identifier = line[4:]
        elif line.startswith("data: "):
            event = json.loads(line[6:])
            seen.take(event)
            seen.last_id = identifier or seen.last_id
            yield event


async def read_stream(
    client: httpx.AsyncClient, path: str, seen: Seen | None = None, *, headers: Mapping[str, str] | None = None
) -> Seen:
    """Read a stream to its end, going on where `seen` ends."""
    seen = seen or Seen()
    headers = {**(headers or {}), **({"Last-Event-ID": seen.last_id} if seen.last_id else {})}
    async with client.stream("GET", path, headers=headers) as response:
        async for _ in events_of(response, seen):
            pass
    return seen
