"""A job's stream that goes on over broken connections and restarted servers, and proves that the log is whole.

The one cursor is the byte offset in the log (law 5): the server puts it into each log event's `id`, and a reader that
returns with it in `Last-Event-ID` goes on there.
"""

import base64
import binascii
import hashlib
import json
import random
from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import anyio
import httpx
import httpx_sse

from ci_client.errors import (
    AnswerNotUnderstood,
    ClientError,
    ConnectionBroken,
    LogMismatch,
    ServerError,
    ServerUnreachable,
    StreamLost,
)
from ci_client.transport import checked, job_path, translated
from ci_common.events import COMPLETE, JOB_ID, LOG, STATUS, STEP, Event

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_STEADY_SECONDS = 5.0
"""A connection that held for so long was a good one, even if it had nothing to tell."""

FetchJob = Callable[[str], Awaitable[dict[str, Any]]]

BreakNotice = Callable[[str], None]
"""Is told why a stream broke, whenever the first try to take it up again has failed."""


def log_bytes_of(event: Event) -> bytes:
    """Return exactly the bytes of the log that a `log` event stands for."""
    try:
        return base64.b64decode(event["base64"], validate=True) if "base64" in event else event["data"].encode()
    except (KeyError, binascii.Error, UnicodeEncodeError) as exc:
        raise AnswerNotUnderstood(f"a log event without usable data: {exc}") from exc


def complete_event_of(job: dict[str, Any]) -> Event:
    """Return the last event of a completed job's stream, from the job itself."""
    keys = ("success", "conclusion", "reason", "exit_code")
    event = {"type": COMPLETE, **{key: job.get(key) for key in keys}}
    return cast(Event, event | {"log_bytes": job.get("log_bytes") or 0, "log_sha256": job.get("log_sha256") or ""})


def step_events_of(job: dict[str, Any]) -> list[Event]:
    """Return the events that told of a job's steps, from the job itself."""
    events: list[Event] = []
    for step in job.get("steps") or []:
        events.append({"type": STEP, "name": step["name"], "status": "running"})
        if step["status"] != "running":
            end: Event = {"type": STEP, "name": step["name"], "status": step["status"], "exit_code": step["exit_code"]}
            events.append(end)
    return events


class JobStream:
    """One reader's way through a job's stream, from an offset in its log to its `complete` event."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        server_url: str,
        fetch_job: FetchJob,
        job_id: str,
        *,
        offset: int,
        on_break: BreakNotice | None = None,
    ) -> None:
        self._http = http
        self._server_url = server_url
        self._fetch_job = fetch_job
        self._job_id = job_id
        self._offset = offset
        self._digest = hashlib.sha256() if offset == 0 else None
        self._on_break = on_break
        self._accepted = False
        self._named = False
        self._status: Event | None = None
        self._steps: list[Event] = []
        self._step_offsets: list[int] = []
        """Where in the log each of the steps' events came."""

    async def events(self, *, patient: bool, reconnect_seconds: float) -> AsyncGenerator[Event, None]:
        """Yield every event once, up to and with `complete`.

        A broken connection is made again, after a pause that grows from 0.2 s to 5 s, until there was none that brought
        anything for `reconnect_seconds`: then StreamLost is raised. With `patient` that holds for the very first
        connection, too; otherwise what is wrong with that is raised at once. Further raises ServerError, LogMismatch
        and AnswerNotUnderstood.
        """
        self._accepted = patient
        pause, last_good = _FIRST_PAUSE, anyio.current_time()
        while True:
            begun = anyio.current_time()
            problem: ClientError | None = None
            try:
                async with aclosing(self._connection()) as connection:
                    async for event in connection:
                        pause, last_good = _FIRST_PAUSE, anyio.current_time()
                        yield event
                        if event["type"] == COMPLETE:
                            return
            except (ServerUnreachable, ConnectionBroken, ServerError) as exc:
                if not self._accepted or (isinstance(exc, ServerError) and not exc.may_pass):
                    raise
                problem = exc
            now = anyio.current_time()
            if now - begun >= _STEADY_SECONDS and not isinstance(problem, ServerUnreachable):
                pause, last_good = _FIRST_PAUSE, now
            why = str(problem or "it ended without the end of the job")
            if now - last_good >= reconnect_seconds:
                raise StreamLost(
                    f"the stream of job {self._job_id} broke and could not be taken up again for "
                    f"{reconnect_seconds:.0f} s ({why}); the job goes on"
                ) from problem
            if pause == 2 * _FIRST_PAUSE and self._on_break is not None:
                self._on_break(why)
            await anyio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connection(self) -> AsyncGenerator[Event, None]:
        """Yield what is new on one connection, until it ends."""
        headers = {"Last-Event-ID": str(self._offset)} if self._offset else {}
        request = httpx_sse.aconnect_sse(
            self._http, "GET", job_path(self._job_id, "stream"), headers=headers, params={"from_beginning": "true"}
        )
        with translated(self._server_url):
            async with request as source:
                await checked(source.response)
                self._accepted = True
                if source.response.status_code != 204:
                    # Told again, if at all, are the steps' events from this offset on, in their order.
                    replayed = bisect_left(self._step_offsets, self._offset)
                    async with aclosing(source.aiter_sse()) as lines:
                        async for line in lines:
                            event = _parse(line)
                            if event is not None and event.get("type") == STEP:
                                event, replayed = self._step(event, replayed)
                            elif event is not None:
                                event = self._take(event, line.id)
                            if event is not None:
                                yield event
                    return
        # 204: all of the log has been seen, and only what came behind it is missing.
        job = await self._fetch_job(self._job_id)
        if job.get("status") == "completed":
            for event in step_events_of(job)[len(self._steps) :]:
                yield event
            yield self._complete(complete_event_of(job))

    def _take(self, event: Event, event_id: str) -> Event | None:
        """Return the event, or what is new of it, or None where nothing is."""
        kind = event.get("type")
        if kind == LOG:
            return self._log(event, event_id)
        if kind == COMPLETE:
            return self._complete(event)
        if kind == STATUS:
            news = event != self._status
            self._status = event
            return event if news else None
        if kind == JOB_ID:
            news, self._named = not self._named, True
            return event if news else None
        return event

    def _step(self, event: Event, replayed: int) -> tuple[Event | None, int]:
        """Return the event if it is new, and how many have been told again or anew on this connection."""
        if event in self._steps[replayed:]:
            return None, self._steps.index(event, replayed) + 1
        if self._steps and event == self._steps[-1]:
            return None, replayed  # No step's event follows its like.
        self._steps.append(event)
        self._step_offsets.append(self._offset)
        return event, len(self._steps)

    def _log(self, event: Event, event_id: str) -> Event | None:
        data = log_bytes_of(event)
        end = int(event_id) if event_id.isascii() and event_id.isdigit() else self._offset + len(data)
        known = self._offset - (end - len(data))
        if known < 0:
            raise LogMismatch(
                f"the log of job {self._job_id} has a gap: {-known} bytes are missing behind byte {self._offset}"
            )
        if known >= len(data):
            return None
        if known:
            event, data = _without_start(event, data[known:])
        self._offset = end
        if self._digest is not None:
            self._digest.update(data)
        event["offset"] = end
        return event

    def _complete(self, event: Event) -> Event:
        length, digest = event.get("log_bytes"), event.get("log_sha256")
        if length is not None and length != self._offset and digest:
            raise LogMismatch(f"the log of job {self._job_id} has {length} bytes, but {self._offset} were received")
        if digest and self._digest is not None and self._digest.hexdigest() != digest:
            raise LogMismatch(
                f"the log of job {self._job_id} was changed on its way: its sha256 is {digest}, what was received has "
                f"{self._digest.hexdigest()}"
            )
        return event


def _parse(line: httpx_sse.ServerSentEvent) -> Event | None:
    """Return the event, or None for a comment."""
    if not line.data:
        return None
    try:
        event = json.loads(line.data)
    except ValueError as exc:
        raise AnswerNotUnderstood(f"the stream brought something that is not JSON: {exc}") from exc
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise AnswerNotUnderstood("the stream brought something that is no event")
    return cast(Event, event)


def _without_start(event: Event, rest: bytes) -> tuple[Event, bytes]:
    text = rest.decode("utf-8", "replace")
    event = cast(Event, {key: value for key, value in event.items() if key != "base64"} | {"data": text})
    if text.encode() != rest:
        event["base64"] = base64.b64encode(rest).decode()
    return event, rest
