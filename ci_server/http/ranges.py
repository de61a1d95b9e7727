"""Byte ranges (RFC 9110, section 14), for logs and other files, and what a client has already (section 13)."""

import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ci_server.http.problems import problem

CHUNK_BYTES = 256 * 1024
_SINGLE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int


class Readable(Protocol):
    """What a part of is sent. `chunks` yields the bytes from `start` up to, not including, `end`."""

    size: int

    def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]: ...

    def close(self) -> None: ...


class NotSatisfiable(Exception):
    """The range begins behind the last byte."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the range that a Range header asks for of `size` bytes, or None where all of them are to be sent.

    Several ranges, other units and malformed headers are answered by the whole. Raises NotSatisfiable.
    """
    match = _SINGLE_RANGE.fullmatch(header) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size:
        raise NotSatisfiable
    return ByteRange(start, end)


def knows(request: Request, etag: str) -> bool:
    """Return whether the If-None-Match header of a request says that the client has the content."""
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    return header.strip() == "*" or any(tag.strip().removeprefix("W/") == etag for tag in header.split(","))


def ranged_response(
    request: Request, descriptor: int, size: int, *, media_type: str, headers: dict[str, str], growing: bool = False
) -> Response:
    """Return the answer to a GET or HEAD for the first `size` bytes of an open file, and take over `descriptor`.

    The rest is as for `ranged_content`.
    """
    return ranged_content(request, _OpenFile(descriptor, size), media_type=media_type, headers=headers, growing=growing)


def ranged_content(
    request: Request, content: Readable, *, media_type: str, headers: dict[str, str], growing: bool = False
) -> Response:
    """Return the answer to a GET or HEAD for a content, and take it over: it is closed in the end.

    `headers` may hold an ETag, against which If-Range is held. `growing`: the length is not yet known to others.
    """
    size = content.size
    headers = {"Accept-Ranges": "bytes", **headers}
    wanted = request.headers.get("range") if request.method == "GET" else None
    condition = request.headers.get("if-range")
    if condition is not None and condition != headers.get("ETag"):
        wanted = None
    try:
        part = parse_range(wanted, size)
    except NotSatisfiable:
        content.close()
        headers["Content-Range"] = f"bytes */{size}"
        detail = f"there are {size} bytes, so {wanted!r} asks for none of them"
        return problem(416, "range_not_satisfiable", "Range not satisfiable", detail, headers=headers)
    if part is None:
        return _Slice(content, ByteRange(0, size), 200, headers, media_type)
    headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{'*' if growing else size}"
    return _Slice(content, part, 206, headers, media_type)


@dataclass(slots=True)
class _OpenFile:
    """The beginning of an open file."""

    descriptor: int
    size: int

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            chunk = os.pread(self.descriptor, min(CHUNK_BYTES, end - start), start)
            if not chunk:
                raise OSError("the file has become shorter while it was being sent")
            start += len(chunk)
            yield chunk

    def close(self) -> None:
        os.close(self.descriptor)


class _Slice(StreamingResponse):
    """A part of a content; closes it in the end."""

    def __init__(
        self, content: Readable, part: ByteRange, status: int, headers: dict[str, str], media_type: str
    ) -> None:
        self._content = content
        headers = {**headers, "Content-Length": str(part.end - part.start)}
        super().__init__(self._read(part), status, headers, media_type)

    async def _read(self, part: ByteRange) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._content.chunks(part.start, part.end)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] == "HEAD":
                await Response(None, self.status_code, dict(self.headers))(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._content.close()
