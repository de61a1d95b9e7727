"""Sending a submission: an upload that is read while it is sent, and what is sent again, when, and until when.

The answer can be the job's stream, so that following the job takes no second request.
"""

import random
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
import httpcore
import httpx
import httpx_sse

from ci_client.errors import (
    AnswerNotUnderstood,
    ConnectionBroken,
    ServerError,
    ServerUnreachable,
    SubmissionUncertain,
)
from ci_client.events import lines_of, parse
from ci_client.packing.archive import Archive
from ci_client.stream import Lines
from ci_client.transport import checked, translated

T = TypeVar("T")
UploadProgress = Callable[[int, int], None]
"""Called with the bytes sent so far and the bytes in all. A retry starts again at 0."""
BusyNotice = Callable[[ServerError, float], None]
"""Called with the server's refusal of a submission, and the seconds after which it is sent again."""

_IN_PROGRESS = "submission_in_progress"
"""The refusal of a submission that the server is still accepting, since it has come before."""
_NOT_TAKEN = frozenset({"queue_full", "too_many_uploads", "disk_low", "rate_limited", _IN_PROGRESS})
"""Refusals that do not last, and that come before anything is stored."""
_PAUSES = 0.2, 1.0
"""After which a submission whose connection broke is sent again."""
_SECONDS = re.compile(r"[0-9]{1,9}")
_CONNECTED = frozenset({"connection.connect_tcp.complete", "connection.connect_unix_socket.complete"})


async def repeated(send: Callable[[], Awaitable[T]], *, may_have_arrived: Callable[[], bool] = lambda: True) -> T:
    """Return what `send` returns, sending again if the connection breaks. However often it arrives, it makes one job.

    Once one has broken, a server that cannot be reached or is not ready says nothing about what became of it. Raises
    SubmissionUncertain, or ConnectionBroken if none `may_have_arrived` as a whole, and what `send` raises.
    """
    broken: ConnectionBroken | None = None
    is_uncertain = False
    for pause in (0.0, *_PAUSES):
        if pause:
            await anyio.sleep(pause)
        try:
            return await send()
        except ConnectionBroken as exc:
            broken, is_uncertain = exc, is_uncertain or may_have_arrived()
        except (ServerUnreachable, ServerError) as exc:
            is_lasting = isinstance(exc, ServerError) and not exc.may_pass and exc.code != _IN_PROGRESS
            if broken is None or is_lasting:
                raise
    assert broken is not None, "without an error, it has returned"
    if not is_uncertain:
        raise broken
    raise SubmissionUncertain(
        f"{broken}; {SubmissionUncertain.WHAT}: look for it among the server's jobs (ci list)"
    ) from broken


class AnswerWatch:
    """Sees whether the server has answered while a request's body is still being sent."""

    def __init__(self, *, encrypted: bool) -> None:
        self._encrypted = encrypted
        self._stream: httpcore.AsyncNetworkStream | None = None

    @property
    def extensions(self) -> dict[str, Any]:
        """httpx's `extensions` for the request."""
        return {"trace": self._trace}

    def begin(self) -> None:
        """Prepare for a request."""
        self._stream = None

    def is_answered(self) -> bool:
        # On an encrypted connection, the readable bytes may be TLS messages instead of an answer.
        return self._stream is not None and not self._encrypted and bool(self._stream.get_extra_info("is_readable"))

    async def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        if event in _CONNECTED:
            self._stream = details["return_value"]


class Upload:
    """An archive as a file that httpx reads. Reading stops early if the server answers early, as it does to refuse."""

    def __init__(self, archive: Archive, progress: UploadProgress | None, *, encrypted: bool) -> None:
        self._file = archive.file
        self._size = archive.size
        self._progress = progress
        self._watch = AnswerWatch(encrypted=encrypted)
        self.is_read = False
        """Whether all of it has been read; then the server may have received all of it."""

    @property
    def extensions(self) -> dict[str, Any]:
        """httpx's `extensions` for the request."""
        return self._watch.extensions

    def begin(self) -> None:
        """Prepare for being sent, for the first time or again."""
        self._watch.begin()
        self.is_read = False
        if self._progress is not None:
            self._progress(0, self._size)

    def fileno(self) -> int:
        return self._file.fileno()

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        if self._watch.is_answered():
            raise httpcore.WriteError("the server has answered")  # httpcore then reads that answer.
        chunk = self._file.read(size)
        sent = self._file.tell()
        self.is_read = sent >= self._size
        if self._progress is not None:
            self._progress(sent, self._size)
        return chunk


class Patience:
    """How long a submission is retried while the server is busy."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def pause_after(self, refusal: ServerError) -> float:
        """Return the seconds until the next retry. Raises `refusal` if a retry is not safe or would come too late."""
        asked = refusal.retry_after or ""
        if refusal.code not in _NOT_TAKEN or not _SECONDS.fullmatch(asked):
            raise refusal
        pause = int(asked) * random.uniform(1.0, 1.5)  # noqa: S311  # spreads retries; no secret
        if pause > self._left:
            raise refusal
        self._left -= pause
        return pause


async def open_submission(
    http: httpx.AsyncClient, server_url: str, *, timeout: httpx.Timeout, headers: Mapping[str, str], **content: Any
) -> tuple[str, Lines]:
    """Send a submission, and return the job's id and the rest of its stream.

    `timeout` applies until the server sends the job's id. Raises what `translated` and `checked` raise.
    """
    headers = {**headers, "Accept": "text/event-stream", "Cache-Control": "no-store"}
    request = http.build_request("POST", "/submit-stream", headers=headers, timeout=timeout, **content)
    with translated(server_url):
        response = await http.send(request, stream=True)
        lines = _lines_of(response)
        try:
            await checked(response)
            # httpcore reads the timeout for each read of the body. From here on the server sends at least pings.
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
        async with aclosing(lines_of(response)) as lines:
            async for line in lines:
                yield line
    finally:
        await response.aclose()
