"""Raw connections that read streams, with as little work of their own as can be."""

import asyncio
import base64
import json
import time

_HEAD = b"\r\n\r\n"


class Listener(asyncio.Protocol):
    """One GET over HTTP/1.0, so that the body comes as it is."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._begun = False
        self.began = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.body = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        """When how much of the body had come."""

    @classmethod
    async def connect(cls, port: int, path: str) -> "Listener":
        """Return a listener whose answer has begun."""
        _, listener = await asyncio.get_running_loop().create_connection(lambda: cls(path), "127.0.0.1", port)
        await listener.began
        return listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(f"GET {self._path} HTTP/1.0\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if not self._begun:
            head, found, data = data.partition(_HEAD)
            assert found, head
            assert head.startswith(b"HTTP/1.1 200 "), head
            self._begun = True
            self.began.set_result(None)
        self.body += data
        self.arrivals.append((now, len(self.body)))

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(time.time())

    def close(self) -> None:
        """Leave."""
        self._transport.abort()

    def events(self) -> list[dict[str, str]]:
        """Return the events that have come whole."""
        *lines, _ = bytes(self.body).split(b"\n")
        return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def log_of(events: list[dict[str, str]]) -> bytes:
    """Return the bytes of the log that these events brought."""
    logs = [event for event in events if event["type"] == "log"]
    return b"".join(base64.b64decode(e["base64"]) if "base64" in e else e["data"].encode() for e in logs)
