"""Messages between a reader and the process that it reads for: JSON behind its length."""

import json
import struct
from typing import Any, BinaryIO

MAX_FRAME_BYTES = 8 * 1024**2
"""More than an answer may have, so that one that is longer comes from a reader that has gone wrong."""

_LENGTH = struct.Struct(">I")
HEAD_BYTES = _LENGTH.size


class BrokenFrame(ConnectionError):
    """The other side has sent something that is no message."""


def encoded(message: dict[str, Any]) -> bytes:
    """Return the bytes that carry `message`; file names that are not UTF-8 are carried, too."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
    return _LENGTH.pack(len(body)) + body


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """Return the next message of a blocking stream, or None at its end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return decoded(stream.read(_LENGTH.unpack(head)[0]))


def length_in(head: bytes) -> int:
    """Return how long the message behind a head is. Raises BrokenFrame."""
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a message of {length} bytes")
    return int(length)


def decoded(body: bytes) -> dict[str, Any]:
    """Return the message behind a head. Raises BrokenFrame."""
    try:
        message = json.loads(body.decode(errors="surrogatepass"))
    except (ValueError, RecursionError) as exc:
        raise BrokenFrame(f"a message that is not JSON: {exc}") from exc
    if not isinstance(message, dict):
        raise BrokenFrame("a message that is not an object")
    return message
