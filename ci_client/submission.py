"""What sending a submission takes: an archive that is read as it is sent, and patience with a server that is busy.

And an answer that is the job's stream, so that following it takes no further request.
"""

import random
import re
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import httpcore
import httpx
import httpx_sse

from ci_client.errors import AnswerNotUnderstood, ServerError
from ci_client.packing import Archive
from ci_client.stream import Lines, parse
from ci_client.transport import checked, translated

UploadProgress = Callable[[int, int], None]
"""Takes how many bytes have been sent so far, and how many there are. They may begin anew."""
BusyNotice = Callable[[ServerError, float], None]
"""Takes why the server does not take a submission now, and after how many seconds it is sent again."""

_NOT_TAKEN = frozenset({"queue_full", "too_many_uploads", "disk_low"})
"""Codes of refusals that come before anything is stored, so that sending again cannot make a second job."""
_SECONDS = re.compile(r"[0-9]{1,9}")
_CONNECTED = frozenset({"connection.connect_tcp.complete", "connection.connect_unix_socket.complete"})


class Upload:
    """An archive as httpx reads it. Reading ends early once the server has answered, as it does to refuse it."""

    def __init__(self, archive: Archive, progress: UploadProgress | None, *, encrypted: bool) -> None:
        self._file = archive.file
        self._size = archive.size
        self._progress = progress
        self._encrypted = encrypted
        self._stream: httpcore.AsyncNetworkStream | None = None
        self.is_read = False
        """Whether all of it has been read, so that the server may have all of it."""

    @property
    def extensions(self) -> dict[str, Any]:
        """What the request needs besides, in httpx's sense."""
        return {"trace": self._trace}

    def begin(self) -> None:
        """Get ready to be sent, for the first time or again."""
        self._stream, self.is_read = None, False
        if self._progress is not None:
            self._progress(0, self._size)

    def fileno(self) -> int:
        return self._file.fileno()

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        if self._is_answered():
            raise httpcore.WriteError("the server has answered")  # httpcore then reads that answer.
        chunk = self._file.read(size)
        sent = self._file.tell()
        self.is_read = sent >= self._size
        if self._progress is not None:
            self._progress(sent, self._size)
        return chunk

    async def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        if event in _CONNECTED:
            self._stream = details["return_value"]

    def _is_answered(self) -> bool:
        # Of an encrypted connection only its own talk may have come.
        return self._stream is not None and not self._encrypted and bool(self._stream.get_extra_info("is_readable"))


class Patience:
    """How long a submission is sent again and again to a server that does not take it for the moment."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def pause_after(self, refusal: ServerError) -> float:
        """Return after how many seconds to try again. Raises `refusal` where that is not safe, or past all patience."""
        asked = refusal.retry_after or ""
        if refusal.code not in _NOT_TAKEN or not _SECONDS.fullmatch(asked):
            raise refusal
        pause = int(asked) * random.uniform(1.0, 1.5)  # noqa: S311  # so that not all come back at once; no secret
        if pause > self._left:
            raise refusal
        self._left -= pause
        return pause


async def open_submission(
    http: httpx.AsyncClient, server_url: str, *, timeout: httpx.Timeout, **content: Any
) -> tuple[str, Lines]:
    """Send a submission, and return the id of its job and what the job's stream brings behind that.

    `timeout` holds until the server has named the job. Raises what `translated` and `checked` raise.
    """
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    request = http.build_request("POST", "/submit-stream", headers=headers, timeout=timeout, **content)
    with translated(server_url):
        response = await http.send(request, stream=True)
        lines = _lines_of(response)
        try:
            await checked(response)
            # Read anew by httpcore when the body is: from now on there is a ping at least.
            request.extensions["timeout"] = http.timeout.as_dict()
            event = parse(await anext(lines, httpx_sse.ServerSentEvent()))
            if event is None or not isinstance(event.get("job_id"), str):
                raise AnswerNotUnderstood(f"{response.url} answered without a job_id")
        except BaseException:
            await lines.aclose()
            await response.aclose()
            raise
    return event["job_id"], lines


async def _lines_of(response: httpx.Response) -> Lines:
    try:
        async with aclosing(httpx_sse.EventSource(response).aiter_sse()) as lines:
            async for line in lines:
                yield line
    finally:
        await response.aclose()
