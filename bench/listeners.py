"""A server to measure, and raw connections that read its streams at the lowest possible cost."""

import asyncio
import base64
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.helpers.service import Service

LINE = "a line of a log as jobs write them, with a number of words and an end"

_HEAD = b"\r\n\r\n"


class Listener(asyncio.Protocol):
    """One GET over HTTP/1.0, so that the body is not chunked."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._begun = False
        self.began = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.body = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        """How much of the body had arrived, by time."""

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
        """Close the connection."""
        self._transport.abort()


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Return the complete events."""
    *lines, _ = body.split(b"\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def log_of(events: list[dict[str, Any]]) -> bytes:
    """Return the bytes of the log in these events."""
    logs = [event for event in events if event["type"] == "log"]
    return b"".join(base64.b64decode(e["base64"]) if "base64" in e else e["data"].encode() for e in logs)


def has_all(body: bytes, log_bytes: int) -> bool:
    """Return whether a reader has the verdict and, by length and digest, the whole log."""
    events = events_of(body)
    log, end = log_of(events), events[-1]
    return len(log) == log_bytes == end["log_bytes"] and hashlib.sha256(log).hexdigest() == end["log_sha256"]


@contextmanager
def serving(**settings: str) -> Iterator[Service]:
    """Run server and controller as two processes, so that only the server is measured."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            "CI_CONTAINER_PREFIX": f"serving-{os.getpid()}-",
            "CI_DB_PATH": f"{directory}/ci_jobs.db",
            "CI_LOG_LEVEL": "warning",
            "CI_SERVER_URL": "",
            "PORT": "0",
            "XDG_STATE_HOME": f"{directory}/state",
        } | settings
        service, controller = Service(environment | {"CI_CONTROLLER": "off"}), Service(environment, "controller")
        try:
            controller.launch()
            yield service.start()
        finally:
            service.stop(within=30)
            controller.stop(within=30)


def port_of(service: Service) -> int:
    """Return the port that the service listens at."""
    return urlsplit(service.url).port or 80
