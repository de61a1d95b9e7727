"""Receives the content of an artifact, from the server or from the store to which it redirects."""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

import anyio
import httpx

from ci_client.downloading.places import PartialFile, Wanted
from ci_client.errors import AnswerNotUnderstood, ConnectionBroken, ContentMismatch, ServerError
from ci_client.escapes import visible
from ci_client.transport import Connection, checked, job_path, translated

_TRIES: Final = 5
"""How often a connection may break without a byte of progress."""
_PAUSE_SECONDS: Final = 1.0

Note = Callable[[int], None]
"""Called with the number of bytes that are there now; a negative one takes back what has to be sent again."""


class Receiver:
    """Receives artifacts of one job."""

    def __init__(self, connection: Connection, job_id: str, params: Mapping[str, str]) -> None:
        """`params`: which attempt is meant, as the server takes it."""
        self._connection = connection
        self._job_id = job_id
        self._params = params

    async def fetch(self, part: PartialFile, wanted: Wanted, note: Note) -> None:
        """Receive the rest of a file, also over connections that break.

        Raises ContentMismatch, ConnectionBroken, ServerUnreachable, ServerError, AnswerNotUnderstood, OSError.
        """
        failures = 0
        while part.size < wanted.size:
            before = part.size
            try:
                await self._fetch_rest(part, wanted, note)
                if part.size < wanted.size:
                    raise ConnectionBroken(f"the connection ended within {visible(wanted.path)}")
            except ConnectionBroken:
                failures = 0 if part.size > before else failures + 1
                if failures >= _TRIES:
                    raise
                await anyio.sleep(_PAUSE_SECONDS * failures)
        if part.sha256 != wanted.sha256:
            part.discard()
            raise ContentMismatch(
                f"what was received for {visible(wanted.path)} is not what the job left: its SHA-256 is {part.sha256}, "
                f"and has to be {wanted.sha256}"
            )

    async def _fetch_rest(self, part: PartialFile, wanted: Wanted, note: Note) -> None:
        http, headers = self._connection.http, {"Accept-Encoding": "identity"}
        if part.size:
            headers |= {"Range": f"bytes={part.size}-", "If-Range": f'"{wanted.sha256}"'}
        url = job_path(self._job_id, "artifacts", *(quote(name, safe="") for name in wanted.parts))
        with translated(self._connection.server_url):
            async with http.stream("GET", url, headers=headers, params=self._params) as response:
                if response.status_code != httpx.codes.FOUND:
                    await _receive(await checked(response), part, wanted, note)
                    return
                await response.aread()
                elsewhere = response.headers.get("Location", "")
        headers.pop("If-Range", None)  # The store has tags of its own; the digest is checked in the end.
        place = _place_of(elsewhere)
        with translated(place):
            async with (
                httpx.AsyncClient(timeout=http.timeout) as store,
                store.stream("GET", elsewhere, headers=headers) as answer,
            ):
                if not answer.is_success:
                    await answer.aread()
                    raise ServerError(
                        answer.status_code,
                        f"http_{answer.status_code}",
                        f"the store of artifacts at {place} answered with status {answer.status_code}; with "
                        "CI_ARTIFACTS_LINKS=none the server sends artifacts itself",
                    )
                await _receive(answer, part, wanted, note)


def _place_of(url: str) -> str:
    """Return scheme and host of a URL, whose query is secret. Raises AnswerNotUnderstood."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise AnswerNotUnderstood("the server redirects to what is no URL")
    return f"{parsed.scheme}://{parsed.netloc.decode()}"


async def _receive(response: httpx.Response, part: PartialFile, wanted: Wanted, note: Note) -> None:
    if response.status_code != httpx.codes.PARTIAL_CONTENT and part.size:
        note(-part.size)
        part.restart()
    elif part.size and not response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
        raise AnswerNotUnderstood(f"{visible(wanted.path)}: the answer is another part than the one that was asked for")
    async for chunk in response.aiter_bytes():
        if part.size + len(chunk) > wanted.size:
            part.discard()
            raise ContentMismatch(f"{visible(wanted.path)} is longer than the {wanted.size} bytes that it has to have")
        part.write(chunk)
        note(len(chunk))
