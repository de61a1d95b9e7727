"""What passes between a reader and the process that started it: tasks, messages, errors, and which files are open."""

import errno
import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ci_common.errors import FieldError, InvalidRequest, RequestError
from ci_common.settings import Settings

MAX_FRAME_BYTES = 8 * 1024**2
"""More than an answer may have, so a longer one comes from a reader that is broken."""
OF_THE_UPLOAD = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL}
)
"""Errors of the system that are caused by names and links in the upload; all others are about the disk."""

_FRAME_LENGTH = struct.Struct(">I")
HEAD_BYTES = _FRAME_LENGTH.size

_BOARD_BYTES = 32 * 1024
_NAME_BYTES = 3 * 1024
_NAMES_LENGTH = struct.Struct("=I")
_NAMES_FROM = 8
_NAMES_MOST = _BOARD_BYTES - _NAMES_FROM


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """The limits of one task."""

    seconds: float = 5.0
    """Of processor time, rounded up to whole seconds."""
    memory: int = 512 * 1024**2
    """Bytes, in addition to what the reader uses before the task."""

    @classmethod
    def of(cls, settings: Settings) -> "ReadingLimits":
        """Return the limits in the settings."""
        return cls(settings.read_timeout, settings.read_memory)

    @property
    def longest_silence(self) -> float:
        """Seconds of wall-clock time without a message from the reader, long enough for a busy machine."""
        return max(30.0, 6 * self.seconds)


@dataclass(frozen=True, slots=True)
class Task:
    """Something for a reader to do."""

    name: str
    """A key of the module's TASKS."""
    argument: dict[str, Any]
    """The task's argument, as JSON."""
    root: Path
    """The directory whose files the task writes or reads."""


class BrokenFrame(ConnectionError):
    """The other side has sent something that is not a message."""


def encoded(message: dict[str, Any]) -> bytes:
    """Return `message` as JSON, preceded by its length. File names that are not UTF-8 can be in it."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
    return _FRAME_LENGTH.pack(len(body)) + body


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """Return the next message of a blocking stream, or None at its end."""
    head = stream.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    return decoded(stream.read(_FRAME_LENGTH.unpack(head)[0]))


def length_in(head: bytes) -> int:
    """Return the length of the message after this head. Raises BrokenFrame."""
    (length,) = _FRAME_LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a message of {length} bytes")
    return int(length)


def decoded(body: bytes) -> dict[str, Any]:
    """Return the message. Raises BrokenFrame."""
    try:
        message = json.loads(body.decode(errors="surrogatepass"))
    except (ValueError, RecursionError) as exc:
        raise BrokenFrame(f"a message that is not JSON: {exc}") from exc
    if not isinstance(message, dict):
        raise BrokenFrame("a message that is not an object")
    return message


def as_message(error: RequestError | OSError) -> dict[str, Any]:
    """Return the error in the form that `as_error` reads."""
    if isinstance(error, OSError):
        path = None if error.filename is None else str(error.filename)
        return {"errno": error.errno, "text": error.strerror or str(error), "path": path}
    return {
        "class": type(error).__name__,
        "text": str(error),
        "errors": [[field.path, field.message] for field in error.errors],
    }


def as_error(message: dict[str, Any]) -> Exception:
    """Return the error in a message from `as_message`."""
    if "errno" in message:
        return OSError(message["errno"], message["text"], message["path"])
    classes = {each.__name__: each for each in _subclasses(RequestError)}
    errors = (FieldError(str(path), str(text)) for path, text in message["errors"])
    return classes.get(message["class"], InvalidRequest)(str(message["text"]), *errors)


def _subclasses(parent: type[RequestError]) -> Iterator[type[RequestError]]:
    for child in parent.__subclasses__():
        if child.__init__ is RequestError.__init__:
            yield child
        yield from _subclasses(child)


class Board:
    """Memory shared by a reader and the process that started it: a flag, and names of files, the newest first.

    It outlives the reader, so the file over which a reader was killed is known.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _BOARD_BYTES)

    @classmethod
    def create(cls) -> "Board":
        """Return a board in new memory. Raises OSError."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("reader-board", os.MFD_CLOEXEC)
        else:
            import tempfile

            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _BOARD_BYTES)
        return cls(descriptor)

    @property
    def flag(self) -> bool:
        return self._memory[_NAMES_LENGTH.size] != 0

    @flag.setter
    def flag(self, value: bool) -> None:
        self._memory[_NAMES_LENGTH.size] = value

    def write(self, names: Iterable[str]) -> None:
        """Replace the names."""
        content = b"\0".join(os.fsencode(name)[:_NAME_BYTES] for name in names)[:_NAMES_MOST]
        self._memory[_NAMES_FROM : _NAMES_FROM + len(content)] = content
        self._memory[: _NAMES_LENGTH.size] = _NAMES_LENGTH.pack(len(content))

    def read(self) -> list[str]:
        """Return the names."""
        length = min(_NAMES_LENGTH.unpack(self._memory[: _NAMES_LENGTH.size])[0], _NAMES_MOST)
        content = self._memory[_NAMES_FROM : _NAMES_FROM + length]
        return [os.fsdecode(name) for name in content.split(b"\0") if name]

    def close(self) -> None:
        """Unmap the memory in this process. May be called twice."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.descriptor)
