"""Receives an upload: a multipart form streamed to disk as it arrives."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MAX_BOUNDARY_LENGTH, MultipartParser, parse_options_header
from starlette.requests import Request

from ci_common.errors import FieldError, InvalidRequest, InvalidUpload, TooLarge
from ci_common.parsing.text import check_line, printable
from ci_server.http.requests import MAX_JSON_BYTES, body_chunks
from ci_server.uploads.staging import BLOCK_BYTES, BlockWriter

_LENGTH = re.compile(r"[0-9]{1,20}")
_FORM_BYTES = MAX_JSON_BYTES + 64 * 1024
"""What a form may have around its file."""
_PREAMBLE_BYTES = 64 * 1024
_LONGEST_NAME = 1024
"""Characters of the name of the uploaded file."""
_LONGEST_TYPE = 1024
"""Characters of the header that names the form's boundary; parsing a longer one would keep the event loop."""


@dataclass(slots=True)
class ReceivedForm:
    """What a form contained; its file is already on disk."""

    filename: str
    size: int
    sha256: str
    spec: bytes | None


@dataclass(slots=True)
class _Part:
    """The part of the form that is being parsed."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""


class _Preamble:
    """Leaves out what stands before a form's first boundary (RFC 2046, 5.1.1), which the parser does not accept."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # As if a line had ended before the form.
        self._left_out = 0
        self.is_over = False

    def leave_out(self, chunk: bytes) -> bytes:
        """Return what of the next chunk belongs to the form. Raises InvalidUpload."""
        if self.is_over:
            return chunk
        text = self._held + chunk
        begin = text.find(self._delimiter)
        self._left_out += len(chunk) if begin < 0 else begin
        if self._left_out > _PREAMBLE_BYTES:
            raise InvalidUpload(f"no line of the form's first {_PREAMBLE_BYTES} bytes begins with its boundary")
        if begin < 0:
            self._held = text[1 - len(self._delimiter) :]
            return b""
        self.is_over = True
        self._held = b""
        return text[begin + 2 :]


class _Form:
    """Takes the form's fields from the parser's callbacks: `file` into blocks to be written, `spec` into memory."""

    def __init__(self, boundary: bytes, max_file_bytes: int) -> None:
        self._max_file_bytes = max_file_bytes
        self._preamble = _Preamble(boundary)
        self._received = 0
        self._part = _Part()
        self.complete = False
        self.filename: str | None = None
        self.size = 0
        self.digest = hashlib.sha256()
        self.spec: bytearray | None = None
        self.pending: list[bytes] = []
        """The file's bytes that are still to be written; whole chunks are not copied."""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Raises InvalidRequest, InvalidUpload, TooLarge and FormParserError."""
        self._received += len(chunk)
        if self._received > self._max_file_bytes + _FORM_BYTES:
            raise upload_too_large(self._max_file_bytes)
        self._parser.write(self._preamble.leave_out(chunk))

    def finish(self) -> None:
        """Check that the body is complete. Raises InvalidUpload and FormParserError."""
        if not self._preamble.is_over:
            raise InvalidUpload("the body has no line that begins with the form's boundary")
        self._parser.finalize()

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._part.header_name.lower()] = self._part.header_value
        self._part.header_name = self._part.header_value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition", b""))
        self._part.name = options.get(b"name", b"").decode(errors="replace")
        match self._part.name:
            case "file":
                if self.filename is not None:
                    raise _form_error("file", "given more than once; pack everything into one zip archive")
                self.filename = _checked_name(options.get(b"filename", b"").decode(errors="replace"))
            case "spec":
                if self.spec is not None:
                    raise _form_error("spec", "given more than once")
                self.spec = bytearray()
            case name:
                raise _form_error(printable(name), "unknown field; known are file, spec")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == "spec":
            assert self.spec is not None
            self.spec += data[start:end]
            if len(self.spec) > MAX_JSON_BYTES:
                raise TooLarge(f"the field spec may have at most {MAX_JSON_BYTES} bytes")
            return
        self.size += end - start
        if self.size > self._max_file_bytes:
            raise upload_too_large(self._max_file_bytes)
        self.pending.append(data[start:end])

    def take(self) -> list[bytes]:
        """Return the file's bytes that are still to be written, and begin another block."""
        block, self.pending = self.pending, []
        return block

    def _end(self) -> None:
        self.complete = True


def announced_bytes(request: Request, max_bytes: int) -> int:
    """Return the length that the request announces, 0 where it does not. Raises TooLarge."""
    length = request.headers.get("content-length", "")
    announced = int(length) if _LENGTH.fullmatch(length) else 0
    if announced > max_bytes + _FORM_BYTES:
        raise upload_too_large(max_bytes)
    return announced


def least_bytes(announced: int) -> int:
    """Return how many bytes the file of a form has at least, whose length was announced."""
    return max(0, announced - _FORM_BYTES)


async def receive_upload(
    request: Request, destination: Path, max_bytes: int, on_written: Callable[[int], None]
) -> ReceivedForm:
    """Write the form's file to `destination`, and return what else the form contained.

    The file is written, but not yet synchronised to the end.

    `on_written` takes the size of each block that has been written, and may raise. Also raises InvalidRequest,
    InvalidUpload, TooLarge, RequestStalled, OSError, and ClientDisconnect where the connection is cut.
    """
    header = request.headers.get("content-type", "")
    if len(header) > _LONGEST_TYPE:
        raise InvalidUpload(f"the header Content-Type has {len(header)} characters, and may have {_LONGEST_TYPE}")
    content_type, options = parse_options_header(header)
    boundary = options.get(b"boundary")
    if content_type != b"multipart/form-data" or not boundary:
        raise InvalidUpload("send the project as multipart/form-data, with a zip archive in the field file")
    if len(boundary) > MAX_BOUNDARY_LENGTH:
        raise InvalidUpload(f"the form's boundary has {len(boundary)} characters, and may have {MAX_BOUNDARY_LENGTH}")
    try:
        form = _Form(boundary, max_bytes)
        with destination.open("xb", buffering=0) as file:
            await _write(body_chunks(request), form, BlockWriter(file.fileno(), form.digest, on_written))
    except FormParserError as exc:
        raise InvalidUpload(f"the body is not a form that can be read: {exc}") from exc
    if not form.complete:
        raise InvalidUpload("the form breaks off before its end")
    if form.filename is None:
        raise _form_error("file", "missing; send the project as a zip archive in the field file")
    if form.size == 0:
        raise InvalidUpload("the uploaded file is empty", FieldError("file", "empty"))
    return ReceivedForm(
        form.filename, form.size, form.digest.hexdigest(), None if form.spec is None else bytes(form.spec)
    )


async def _write(chunks: AsyncIterator[bytes], form: _Form, writer: BlockWriter) -> None:
    """Feed the form, and have its file written."""
    taken = 0
    async with writer:
        async for chunk in chunks:
            form.write(chunk)
            if form.size - taken >= BLOCK_BYTES:
                taken = form.size
                await writer.write(form.take())
        form.finish()
        await writer.write(form.take())
        await writer.finish()


def upload_too_large(limit: int) -> TooLarge:
    """Return the error for an upload of more than `limit` bytes."""
    return TooLarge(f"the upload is larger than the {limit} bytes that the server takes (CI_MAX_UPLOAD_BYTES)")


def _checked_name(filename: str) -> str:
    if len(filename) > _LONGEST_NAME:
        raise _form_error("file", f"its file name has {len(filename)} characters; at most {_LONGEST_NAME} are taken")
    try:
        return check_line(filename)
    except ValueError as exc:
        raise _form_error("file", f"its file name: {exc}") from None


def _form_error(path: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"the form is not valid: {path}: {message}", FieldError(path, message))
