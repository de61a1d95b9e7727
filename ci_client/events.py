"""The events of a job's stream: parsing them, and making them from a job that has completed."""

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import httpx
import httpx_sse

from ci_client.errors import AnswerNotUnderstood
from ci_common.wire.stream import COMPLETE, JOB_ID, LOG, STATUS, STEP, Event

_REQUIRED_TEXTS = {
    JOB_ID: ("job_id",),
    STATUS: ("status",),
    STEP: ("name", "status"),
    LOG: ("data",),
    COMPLETE: ("conclusion",),
}
"""The text fields without which an event of this type cannot be shown."""


async def lines_of(response: httpx.Response) -> AsyncGenerator[httpx_sse.ServerSentEvent, None]:
    """Yield the server-sent events of a response, as the HTML standard reads them.

    They are UTF-8 whatever the response's type says, and a byte order mark at their beginning does not count.
    """
    response.encoding = "utf-8-sig"
    async with aclosing(httpx_sse.EventSource(response).aiter_sse()) as lines:
        async for line in lines:
            yield line


def parse(line: httpx_sse.ServerSentEvent) -> Event | None:
    """Return the event, or None for a comment. Raises AnswerNotUnderstood."""
    if not line.data:
        return None
    try:
        event = json.loads(line.data)
    except (ValueError, RecursionError) as exc:
        raise AnswerNotUnderstood(f"the stream brought something that is not JSON: {exc}") from exc
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise AnswerNotUnderstood("the stream brought something that is not an event")
    for field in _REQUIRED_TEXTS.get(event["type"], ()):
        if not isinstance(event.get(field), str):
            raise AnswerNotUnderstood(f"the stream brought an event of type {event['type']} without a {field}")
    return cast(Event, event)


def log_bytes_of(event: Event) -> bytes:
    """Return the exact bytes of the log that a `log` event carries."""
    try:
        return base64.b64decode(event["base64"], validate=True) if "base64" in event else event["data"].encode()
    except (KeyError, binascii.Error, UnicodeEncodeError) as exc:
        raise AnswerNotUnderstood(f"a log event has no usable data: {exc}") from exc


def log_event_with(event: Event, data: bytes) -> Event:
    """Return a copy of a `log` event that carries `data` instead."""
    text = data.decode("utf-8", "replace")
    copy = cast(Event, {key: value for key, value in event.items() if key != "base64"} | {"data": text})
    if text.encode() != data:
        copy["base64"] = base64.b64encode(data).decode()
    return copy


def complete_event_of(job: dict[str, Any]) -> Event:
    """Return the `complete` event of a completed job's stream."""
    keys = ("success", "conclusion", "reason", "exit_code")
    event = {"type": COMPLETE, **{key: job.get(key) for key in keys}}
    return cast(Event, event | {"log_bytes": job.get("log_bytes") or 0, "log_sha256": job.get("log_sha256") or ""})


def step_events_of(job: dict[str, Any]) -> list[Event]:
    """Return the `step` events of a job's stream so far."""
    events: list[Event] = []
    for step in job.get("steps") or []:
        events.append({"type": STEP, "name": step["name"], "status": "running"})
        if step["status"] != "running":
            end: Event = {"type": STEP, "name": step["name"], "status": step["status"], "exit_code": step["exit_code"]}
            events.append(end)
    return events
