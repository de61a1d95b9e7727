"""A job's stream as an answer: what one connection holds while there is nothing to tell."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ci_common.jobs import Job
from ci_common.stream import JOB_ID, Cursor
from ci_server.http.exchange import NO_SNIFFING, OpenStream, detach
from ci_server.streaming.connections import Reader
from ci_server.streaming.event_source import Place
from ci_server.streaming.framing import frame
from ci_server.streaming.shared_tail import SharedTail
from ci_server.streaming.tails import Tails

_HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}


class JobStream(Response):
    """The events of `job` from `start` on, through all further attempts. `announce`: begin with the job's id."""

    media_type = "text/event-stream"

    def __init__(self, tails: Tails, job: Job, start: Cursor, *, announce: bool = False) -> None:
        super().__init__(headers=_HEADERS | {"Location": f"/jobs/{job.id}"})
        del self.headers["Content-Length"]
        self.job_id = job.id
        self._tails = tails
        self._job = job
        self._place = Place(start.attempt, start.offset)
        self._first = frame({"type": JOB_ID, "job_id": job.id}) if announce else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
        else:
            detach(scope, self)

    async def begin(self, send: Send) -> OpenStream:
        """Begin to stream; what has been told by then is sent, and the rest as it comes, up to the verdict."""
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": [*self.raw_headers, NO_SNIFFING]}
        )
        reader = Reader(send)
        return _Seat(reader, self._tails.join(self._job, reader, self._place, self._first))


class _Seat:
    """One reader at the tail of a job."""

    __slots__ = ("_reader", "_tail")

    def __init__(self, reader: Reader, tail: SharedTail) -> None:
        self._reader = reader
        self._tail = tail

    @property
    def abandoned(self) -> bool:
        return self._reader.abandoned

    def leave(self) -> None:
        self._tail.leave(self._reader)
