"""A job's stream that survives broken connections and restarted servers, and verifies that the log is complete.

Its cursor is the attempt and the byte offset in that attempt's log (law 5). The server sends it as the `id` of each log
event; a reader that sends it back in `Last-Event-ID` resumes there.
"""

import hashlib
import random
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

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
from ci_client.events import complete_event_of, lines_of, log_bytes_of, log_event_with, parse, step_events_of
from ci_client.transport import checked, job_path, translated
from ci_common.jobs import ReasonCode
from ci_common.wire.stream import ATTEMPT, BEGINNING, COMPLETE, JOB_ID, LOG, REFUSED, STATUS, STEP, Cursor, Event

_UNAUTHORIZED = 401
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_STEADY_SECONDS = 5.0
"""A connection that lasted this long counts as good, even if it brought no event."""

Lines = AsyncGenerator[httpx_sse.ServerSentEvent, None]
"""What one connection brings."""

FetchJob = Callable[[str], Awaitable[dict[str, Any]]]

BreakNotice = Callable[[str], None]
"""Called with the reason when a stream broke and the first attempt to resume it failed."""


class JobStream:
    """One reader's stream of a job, from a cursor to the `complete` event."""

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
        """`opened` is a connection that already brings the stream from `start` on. It is used first."""
        self._http = http
        self._server_url = server_url
        self._fetch_job = fetch_job
        self._job_id = job_id
        self._on_break = on_break
        self._opened = opened
        self._accepted = False
        self._received_job_id = False
        self._start_attempt(start)

    def _start_attempt(self, start: Cursor) -> None:
        """Reset what is known of the current attempt; its stream begins at `start`."""
        self._cursor = start
        self._digest = hashlib.sha256() if start.offset == 0 else None
        self._status: Event | None = None
        self._steps: list[Event] = []
        self._step_offsets: list[int] = []
        """The log offset at which each step event came."""
        self._replayed = 0
        """How many step events, of those received on earlier connections, this connection has passed."""

    async def events(self, *, patient: bool, reconnect_seconds: float) -> AsyncGenerator[Event, None]:
        """Yield every event once, up to and including `complete`.

        A broken connection is made again after a pause that grows from 0.2 s to 5 s. StreamLost is raised once no
        connection has brought anything for `reconnect_seconds`. With `patient` this also applies to the first
        connection; otherwise its error is raised at once. Also raises ServerError, LogMismatch and
        AnswerNotUnderstood.
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
            why = str(problem or "it ended before the job did")
            if now - last_good >= reconnect_seconds:
                raise StreamLost(
                    f"the stream of job {self._job_id} broke and could not be resumed for "
                    f"{reconnect_seconds:.0f} s ({why}); the job goes on"
                ) from problem
            if pause == 2 * _FIRST_PAUSE and self._on_break is not None:
                self._on_break(why)
            await anyio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connection(self) -> AsyncGenerator[Event, None]:
        """Yield the new events of one connection, until it ends."""
        with translated(self._server_url):
            async with self._lines() as lines:
                self._accepted = True
                if lines is not None:
                    # The server repeats the step events from this offset on, in their order.
                    self._replayed = bisect_left(self._step_offsets, self._cursor.offset)
                    async for line in lines:
                        event = parse(line)
                        if event is not None and (new := self._new_part(event, line.id)) is not None:
                            yield new
                    return
        # 204: the whole log was received; only the events after it are missing.
        job = await self._fetch_job(self._job_id)
        if job.get("status") == "completed":
            for event in step_events_of(job)[len(self._steps) :]:
                yield event
            self._check_log(complete := complete_event_of(job))
            yield complete

    @asynccontextmanager
    async def _lines(self) -> AsyncIterator[Lines | None]:
        """Connect and yield what comes, or None if there is nothing more."""
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
            async with aclosing(lines_of(source.response)) as lines:
                yield lines

    def _new_part(self, event: Event, event_id: str) -> Event | None:
        """Return what is new in an event: all of it, a part, or None."""
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
            is_new = event != self._status
            self._status = event
            return event if is_new else None
        if kind == REFUSED:
            raise ServerError(_UNAUTHORIZED, str(event.get("code")), str(event.get("message")))
        if kind == JOB_ID:
            is_new, self._received_job_id = not self._received_job_id, True
            return event if is_new else None
        return event

    def _step(self, event: Event) -> Event | None:
        if event in self._steps[self._replayed :]:
            self._replayed = self._steps.index(event, self._replayed) + 1
            return None
        if self._steps and event == self._steps[-1]:
            return None  # Two equal step events never follow each other.
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
            raise LogMismatch(f"{self._log_name} has a gap: {-known} bytes are missing after byte {here.offset}")
        if known >= len(data):
            return None
        if known:
            data = data[known:]
            event = log_event_with(event, data)
        self._cursor = end
        if self._digest is not None:
            self._digest.update(data)
        event["offset"], event["id"] = end.offset, str(end)
        return event

    def _attempt(self, event: Event) -> Event | None:
        number, previous = event.get("attempt"), event.get("previous")
        if not isinstance(number, int) or not isinstance(previous, dict):
            raise AnswerNotUnderstood("the stream brought an attempt without its number or the previous attempt")
        if number <= self._cursor.attempt:
            return None
        if number > self._cursor.attempt + 1:
            raise LogMismatch(f"the stream of job {self._job_id} skips attempt {self._cursor.attempt + 1}")
        self._check_log(previous)
        self._start_attempt(Cursor(number, 0))
        event["id"] = str(self._cursor)
        return event

    def _check_log(self, ended: Mapping[str, Any]) -> None:
        """Raise LogMismatch if what was received is not the whole log of the attempt that ended."""
        length, digest = ended.get("log_bytes"), ended.get("log_sha256")
        if (ended.get("reason") or {}).get("code") == ReasonCode.LOG_DAMAGED:
            return  # The job removed some of the log, so more may have been received than is left.
        offset = self._cursor.offset
        if length is not None and length != offset and digest:
            raise LogMismatch(f"{self._log_name} has {length} bytes, but {offset} were received")
        if digest and self._digest is not None and self._digest.hexdigest() != digest:
            raise LogMismatch(
                f"{self._log_name} was changed on its way: its sha256 is {digest}, that of the received bytes is "
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
        raise AnswerNotUnderstood(f"the stream brought an event with an invalid id: {exc}") from exc
