"""Reading a stream of server-sent events, line by line, as the standard says."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx


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


async def read_stream(client: httpx.AsyncClient, path: str, seen: Seen | None = None) -> Seen:
    """Read a stream to its end, going on where `seen` ends."""
    seen = seen or Seen()
    headers = {"Last-Event-ID": seen.last_id} if seen.last_id else {}
    async with client.stream("GET", path, headers=headers) as response:
        async for _ in events_of(response, seen):
            pass
    return seen
