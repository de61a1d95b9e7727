"""A job's stream that goes on over broken connections and restarted servers, and proves that the log is whole.

The one cursor is the attempt and the byte offset in its log (law 5): the server puts it into each log event's `id`, and
a reader that returns with it in `Last-Event-ID` goes on there.
"""

import base64
import binascii
import hashlib
import json
import random
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
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
from ci_common.jobs import ReasonCode
from ci_common.stream import ATTEMPT, BEGINNING, COMPLETE, JOB_ID, LOG, STATUS, STEP, Cursor, Event

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_STEADY_SECONDS = 5.0
"""A connection that held for so long was a good one, even if it had nothing to tell."""

_TEXTS_OF = {
    JOB_ID: ("job_id",),
    STATUS: ("status",),
    STEP: ("name", "status"),
    LOG: ("data",),
    COMPLETE: ("conclusion",),
}
"""The fields of events without which the one at hand cannot be shown."""

Lines = AsyncGenerator[httpx_sse.ServerSentEvent, None]
"""What one connection brings."""

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
    """One reader's way through a job's stream, from some place in it to its `complete` event."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        server_url: str,
        fetch_job: FetchJob,
        job_id: str,
        *,
        start: Cursor,
        on_break: BreakNotice | None = None,
        opened: Lines | None = None,
    ) -> None:
        """`opened` is a connection that brings the stream from `start` on already; others are made where it breaks."""
        self._http = http
        self._server_url = server_url
        self._fetch_job = fetch_job
        self._job_id = job_id
        self._on_break = on_break
        self._opened = opened
        self._accepted = False
        self._named = False
        self._begin(start)

    def _begin(self, start: Cursor) -> None:
        """Know nothing yet of an attempt but that its stream begins at `start`."""
        self._cursor = start
        self._digest = hashlib.sha256() if start.offset == 0 else None
        self._status: Event | None = None
        self._steps: list[Event] = []
        self._step_offsets: list[int] = []
        """Where in the log each of the steps' events came."""
        self._replayed = 0
        """How many of the steps' events have been told again or anew on this connection."""

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
        with translated(self._server_url):
            async with self._lines() as lines:
                self._accepted = True
                if lines is not None:
                    # Told again, if at all, are the steps' events from this offset on, in their order.
                    self._replayed = bisect_left(self._step_offsets, self._cursor.offset)
                    async for line in lines:
                        event = parse(line)
                        if event is not None and (news := self._take(event, line.id)) is not None:
                            yield news
                    return
        # 204: all of the log has been seen, and only what came behind it is missing.
        job = await self._fetch_job(self._job_id)
        if job.get("status") == "completed":
            for event in step_events_of(job)[len(self._steps) :]:
                yield event
            self._check_log(complete := complete_event_of(job))
            yield complete

    @asynccontextmanager
    async def _lines(self) -> AsyncIterator[Lines | None]:
        """Connect, and give what comes, or None where there is nothing more."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            async with aclosing(opened) as lines:
                yield lines
            return
        headers = {"Last-Event-ID": str(self._cursor)} if self._cursor != BEGINNING else {}
        request = httpx_sse.aconnect_sse(
            self._http, "GET", job_path(self._job_id, "stream"), headers=headers, params={"from_beginning": "true"}
        )
        async with request as source:
            await checked(source.response)
            if source.response.status_code == httpx.codes.NO_CONTENT:
                yield None
                return
            async with aclosing(source.aiter_sse()) as lines:
                yield lines

    def _take(self, event: Event, event_id: str) -> Event | None:
        """Return the event, or what is new of it, or None where nothing is."""
        kind = event.get("type")
        if kind == LOG:
            return self._log(event, event_id)
        if kind == STEP:
            return self._step(event)
        if kind == ATTEMPT:
            return self._attempt(event)
        if kind == COMPLETE:
            self._check_log(event)
        if kind == STATUS:
            news = event != self._status
            self._status = event
            return event if news else None
        if kind == JOB_ID:
            news, self._named = not self._named, True
            return event if news else None
        return event

    def _step(self, event: Event) -> Event | None:
        if event in self._steps[self._replayed :]:
            self._replayed = self._steps.index(event, self._replayed) + 1
            return None
        if self._steps and event == self._steps[-1]:
            return None  # No step's event follows its like.
        self._steps.append(event)
        self._step_offsets.append(self._cursor.offset)
        self._replayed = len(self._steps)
        return event

    def _log(self, event: Event, event_id: str) -> Event | None:
        data = log_bytes_of(event)
        here = self._cursor
        end = _cursor_of(event_id) if event_id else Cursor(here.attempt, here.offset + len(data))
        if end.attempt > here.attempt:
            raise LogMismatch(f"the stream of job {self._job_id} skips the beginning of attempt {end.attempt}")
        known = len(data) if end.attempt < here.attempt else here.offset - (end.offset - len(data))
        if known < 0:
            raise LogMismatch(f"{self._log_name} has a gap: {-known} bytes are missing behind byte {here.offset}")
        if known >= len(data):
            return None
        if known:
            event, data = _without_start(event, data[known:])
        self._cursor = end
        if self._digest is not None:
            self._digest.update(data)
        event["offset"], event["id"] = end.offset, str(end)
        return event

    def _attempt(self, event: Event) -> Event | None:
        number, previous = event.get("attempt"), event.get("previous")
        if not isinstance(number, int) or not isinstance(previous, dict):
            raise AnswerNotUnderstood("the stream brought an attempt without its number or the one before")
        if number <= self._cursor.attempt:
            return None
        if number > self._cursor.attempt + 1:
            raise LogMismatch(f"the stream of job {self._job_id} skips attempt {self._cursor.attempt + 1}")
        self._check_log(previous)
        self._begin(Cursor(number, 0))
        event["id"] = str(self._cursor)
        return event

    def _check_log(self, ended: Mapping[str, Any]) -> None:
        """Raise LogMismatch where what was received is not the whole log of an attempt that has ended."""
        length, digest = ended.get("log_bytes"), ended.get("log_sha256")
        if (ended.get("reason") or {}).get("code") == ReasonCode.LOG_DAMAGED:
            return  # More may have been received than its job has left of it.
        offset = self._cursor.offset
        if length is not None and length != offset and digest:
            raise LogMismatch(f"{self._log_name} has {length} bytes, but {offset} were received")
        if digest and self._digest is not None and self._digest.hexdigest() != digest:
            raise LogMismatch(
                f"{self._log_name} was changed on its way: its sha256 is {digest}, what was received has "
                f"{self._digest.hexdigest()}"
            )

    @property
    def _log_name(self) -> str:
        number = self._cursor.attempt
        return f"the log of job {self._job_id}" + (f", attempt {number}," if number > 1 else "")


def _cursor_of(event_id: str) -> Cursor:
    try:
        return Cursor.parse(event_id)
    except ValueError as exc:
        raise AnswerNotUnderstood(f"the stream brought an id that is none: {exc}") from exc


def parse(line: httpx_sse.ServerSentEvent) -> Event | None:
    """Return the event, or None for a comment. Raises AnswerNotUnderstood."""
    if not line.data:
        return None
    try:
        event = json.loads(line.data)
    except (ValueError, RecursionError) as exc:
        raise AnswerNotUnderstood(f"the stream brought something that is not JSON: {exc}") from exc
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise AnswerNotUnderstood("the stream brought something that is no event")
    for field in _TEXTS_OF.get(event["type"], ()):
        if not isinstance(event.get(field), str):
            raise AnswerNotUnderstood(f"the stream brought an event of type {event['type']} without a {field}")
    return cast(Event, event)


def _without_start(event: Event, rest: bytes) -> tuple[Event, bytes]:
    text = rest.decode("utf-8", "replace")
    event = cast(Event, {key: value for key, value in event.items() if key != "base64"} | {"data": text})
    if text.encode() != rest:
        event["base64"] = base64.b64encode(rest).decode()
    return event, rest
