"""A job's stream as an answer: what one connection holds while there is nothing to tell."""

import asyncio
from collections.abc import Awaitable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ci_common.cursors import Cursor
from ci_common.events import JOB_ID
from ci_common.jobs import Job
from ci_server.framing import frame
from ci_server.handover import hand_over
from ci_server.narration import Place
from ci_server.readers import Reader
from ci_server.tails import Tails

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
            hand_over(scope, self)

    def answered(self, receive: Receive, send: Send) -> Awaitable[None]:
        """Stream until the verdict has been sent, or the client has gone."""
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        return _read(head, self._tails, self._job, self._place, self._first, receive, send)


async def _read(
    head: Message, tails: Tails, job: Job, place: Place, first: bytes, receive: Receive, send: Send
) -> None:
    await send(head)
    reader = Reader(send)
    tail = tails.join(job, reader, place, first)
    del head, tails, job, place, first, send  # Thousands may wait here.
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except asyncio.CancelledError:
        if not reader.abandoned:
            raise
    finally:
        tail.leave(reader)
