"""Readers of a job's log. Each must receive exactly what the job wrote, whatever happens to servers."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import httpx

from ci_client.aio import CiClient
from ci_client.errors import ClientError, ConnectionBroken, ServerError, ServerUnreachable
from ci_client.events import complete_event_of, log_bytes_of
from ci_common.wire.stream import COMPLETE, LOG, Event

GIVE_UP_SECONDS = 3600.0
"""Readers keep trying; the run decides when they have taken too long."""
PAUSE_SECONDS = 0.2
IDLE_SECONDS = 30.0
"""Longer than any pause, and longer than the 15 s after which servers send a comment."""
T = TypeVar("T")
_MAY_PASS = frozenset({429, 502, 503, 504})


@dataclass
class Reading:
    """What one reader received, over all its connections."""

    reader: str
    data: bytearray = field(default_factory=bytearray)
    complete: Event | None = None
    """The stream's last event, once received."""
    problem: str = ""
    """The error that ended the reading early."""
    connections: int = 0

    @property
    def has_ended(self) -> bool:
        return self.complete is not None or bool(self.problem)

    def take(self, event: Event, data: bytes) -> None:
        """Add an event; `data` is its part of the log."""
        self.data += data
        if event["type"] == COMPLETE:
            self.complete = event


def may_pass(error: ClientError) -> bool:
    """Return whether a retry may help."""
    return error.may_pass if isinstance(error, ServerError) else isinstance(error, ServerUnreachable | ConnectionBroken)


async def read_steadily(client: CiClient, job_id: str, reading: Reading) -> None:
    """Read by the client library, which resumes broken streams by itself."""
    last_id: str | None = None
    while not reading.has_ended:
        reading.connections += 1
        try:
            async with aclosing(client.stream(job_id, last_id=last_id)) as events:
                async for event in events:
                    last_id = event.get("id", last_id)
                    reading.take(event, log_bytes_of(event) if event["type"] == LOG else b"")
        except ClientError as exc:
            if not may_pass(exc):
                reading.problem = f"{type(exc).__name__}: {exc}"
            await asyncio.sleep(PAUSE_SECONDS)


async def read_with_cuts(urls: Sequence[str], job_id: str, reading: Reading, random: Random) -> None:
    """Read by plain HTTP, from each server in turn, cutting the connection and resuming from the last id.

    It relies only on what docs/http.md says about the stream.
    """
    last_id = ""
    async with httpx.AsyncClient(timeout=IDLE_SECONDS, trust_env=False) as http:
        while not reading.has_ended:
            url = f"{urls[reading.connections % len(urls)]}/jobs/{job_id}"
            reading.connections += 1
            try:
                async with asyncio.timeout(random.uniform(0.2, 5.0)), aclosing(_events(http, url, last_id)) as events:
                    async for event_id, event in events:
                        last_id = event_id or last_id
                        reading.take(event, _bytes_of(event))
                        if random.random() < 0.1:
                            break
            except (httpx.TransportError, TimeoutError):
                pass  # The connection was cut, by this reader or by the end of a server.
            except _RefusedError as exc:
                reading.problem = str(exc)
            if not reading.has_ended:
                await asyncio.sleep(random.uniform(0.0, PAUSE_SECONDS))


class _RefusedError(Exception):
    """The stream was refused for good."""


async def _events(http: httpx.AsyncClient, url: str, last_id: str) -> AsyncGenerator[tuple[str, Event], None]:
    """Yield the id (empty if it has none) and the data of each complete event on one connection."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with http.stream("GET", f"{url}/stream", params={"from_beginning": "true"}, headers=headers) as response:
        if response.status_code in _MAY_PASS:
            return
        if response.status_code == 204:  # The whole log was received, and only the verdict is missing.
            answer = await http.get(url)
            if answer.status_code in _MAY_PASS:
                return
            yield "", complete_event_of(answer.raise_for_status().json())
            return
        if response.status_code != 200:
            raise _RefusedError(f"answered with {response.status_code}: {(await response.aread())[:500]!r}")
        event_id, data = "", ""
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                event_id = value
            elif name == "data":
                data = value
            elif not line and data:
                yield event_id, json.loads(data)
                event_id, data = "", ""


def _bytes_of(event: Event) -> bytes:
    if event["type"] != LOG:
        return b""
    return base64.b64decode(event["base64"]) if "base64" in event else event["data"].encode()


async def read_log(client: CiClient, job_id: str, attempt: int) -> bytes:
    """Return `GET /jobs/{id}/log`, retrying until an answer is complete. Raises ClientError."""

    async def read() -> bytes:
        return b"".join([chunk async for chunk in client.log(job_id, attempt=attempt)])

    return await answered(read)


async def read_job(client: CiClient, job_id: str) -> dict[str, Any]:
    """Return the job, retrying until there is an answer. Raises ClientError."""
    return await answered(lambda: client.get_job(job_id))


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what `ask` returns, calling it again as long as that may help. Raises ClientError."""
    while True:
        try:
            return await ask()
        except ClientError as exc:
            if not may_pass(exc):
                raise
            await asyncio.sleep(PAUSE_SECONDS)
