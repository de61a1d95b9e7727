"""A job's stream as an answer, and the tails of all jobs that have readers: they share a timer for pings and an end."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ci_common.jobs import Job
from ci_common.wire.stream import JOB_ID, Cursor, refused_event
from ci_server.http.exchange import GRACE_SECONDS, OpenStream, detach
from ci_server.http.protections import protect
from ci_server.streaming.event_source import Position
from ci_server.streaming.framing import Reader, frame
from ci_server.streaming.shared_tail import SharedTail, Sources

PING_SECONDS = 15.0
HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}

WhileAccepted = Callable[[Callable[[str], None]], Callable[[], None]]
"""Takes what ends a stream, given the reason, and calls it once the reader may not go on. Returns what stops that."""


def for_ever(_end: Callable[[str], None]) -> Callable[[], None]:
    """Let a reader go on to the end of the stream."""
    return lambda: None


class Tails:
    """At most one tail for each job. For one event loop."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._tails: dict[str, SharedTail] = {}
        self._pings: asyncio.TimerHandle | None = None

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return sum(tail.readers for tail in self._tails.values())

    def join(self, job: Job, reader: Reader, position: Position, first: bytes) -> SharedTail:
        """Send `first` to a reader of `job`, and then all events from `position` on.

        The caller has to call the `leave` of the tail at the end. The last message has `more_body` false: behind the
        result, or without a result where the server stops, the job is deleted or the database cannot be read.
        """
        tail = self._tails.get(job.id)
        if tail is None:
            tail = self._tails[job.id] = SharedTail(self._sources, job, self._forget)
            if self._pings is None:
                self._pings = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping)
        tail.join(job, reader, position, first)
        return tail

    @contextmanager
    def ending_with_the_server(self) -> Iterator[None]:
        """End all streams when the server stops, and a moment later also the requests of clients that do not read."""
        try:
            with self._sources.shutdown.on_shutdown(self._leave):
                yield
        finally:
            for tail in tuple(self._tails.values()):
                tail.end()
            if self._pings is not None:
                self._pings.cancel()

    def _forget(self, tail: SharedTail) -> None:
        if self._tails.get(tail.job_id) is tail:
            del self._tails[tail.job_id]

    def _ping(self) -> None:
        for tail in self._tails.values():
            tail.ping()
        self._pings = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping) if self._tails else None

    def _leave(self) -> None:
        tails = tuple(self._tails.values())
        for tail in tails:
            tail.wake()
        asyncio.get_running_loop().call_later(GRACE_SECONDS, _abandon, tails)


def _abandon(tails: tuple[SharedTail, ...]) -> None:
    for tail in tails:
        tail.abandon()


class JobStream(Response):
    """The events of `job` from `start` on, through all further attempts. `announce`: begin with the job's id."""

    media_type = "text/event-stream"

    def __init__(
        self, tails: Tails, job: Job, start: Cursor, *, announce: bool = False, while_accepted: WhileAccepted = for_ever
    ) -> None:
        super().__init__(headers=HEADERS | {"Location": f"/jobs/{job.id}"})
        del self.headers["Content-Length"]
        self.job_id = job.id
        self._tails = tails
        self._job = job
        self._position = Position(start.attempt, start.offset)
        self._while_accepted = while_accepted
        self._first = frame({"type": JOB_ID, "job_id": job.id}) if announce else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
        else:
            protect(self.raw_headers, scope)
            detach(scope, self)

    async def begin(self, send: Send) -> OpenStream:
        """Begin to stream. Past events are sent at once, further ones as they come, up to the result."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        reader = Reader(send)
        tail = self._tails.join(self._job, reader, self._position, self._first)
        stop = self._while_accepted(lambda why: tail.expel(reader, frame(refused_event(why))))
        return _JoinedReader(reader, tail, stop)


class _JoinedReader:
    """One reader and its tail: all that a waiting connection holds."""

    __slots__ = ("_reader", "_stop", "_tail")

    def __init__(self, reader: Reader, tail: SharedTail, stop: Callable[[], None]) -> None:
        self._reader = reader
        self._tail = tail
        self._stop = stop

    @property
    def abandoned(self) -> bool:
        return self._reader.abandoned

    def leave(self) -> None:
        self._stop()
        self._tail.leave(self._reader)
