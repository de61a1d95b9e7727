"""Where a download is written: folders that no link leads out of, and files that are not whole yet."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ci_client.errors import NotWritten
from ci_client.escapes import visible

_CHUNK: Final = 1024 * 1024
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artifact that is to be saved."""

    path: str
    """As the job named it."""
    size: int
    sha256: str
    parts: tuple[str, ...]
    """The names that its path has, as `names_of` returns them."""


def names_of(path: str) -> tuple[str, ...]:
    """Return the names of a path. Raises NotWritten for one that no directory should have below it."""
    parts = tuple(path.split("/"))
    if not path or any(part in ("", ".", "..") for part in parts) or _CONTROL.search(path):
        raise NotWritten(f"the server names an artifact {visible(path)!r}, which is no name for a file here")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise NotWritten(f"the server names an artifact {visible(path)!r}, which is not valid UTF-8") from None
    return parts


@contextmanager
def open_folder(top: Path, names: Sequence[str]) -> Iterator[int]:
    """Make and open a directory below `top`, none of whose parts may be a link. Raises OSError."""
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=descriptor)
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


class PartialFile:
    """A file that is not whole yet. What an earlier download has left of it is kept; a context."""

    def __init__(self, folder: int, wanted: Wanted) -> None:
        self._folder = folder
        identity = hashlib.sha256(f"{wanted.sha256} {wanted.path}".encode()).hexdigest()
        self._name: str | None = f".ci-{identity[:40]}.part"
        self._descriptor = os.open(self._name, _FILE, 0o666, dir_fd=folder)
        state = os.fstat(self._descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(self._descriptor)
            raise NotWritten(f"{self._name} is not a file, and a download needs that name; remove it")
        self.size = 0
        self._digest = hashlib.sha256()
        if 0 < state.st_size <= wanted.size:
            while chunk := os.pread(self._descriptor, _CHUNK, self.size):
                self._digest.update(chunk)
                self.size += len(chunk)
        else:
            self.restart()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def restart(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self.size, self._digest = 0, hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            count = os.pwrite(self._descriptor, view, self.size)
            self._digest.update(view[:count])
            self.size += count
            view = view[count:]

    def discard(self) -> None:
        self.restart()
        if self._name is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)

    def move_to(self, name: str) -> None:
        assert self._name is not None, "it is moved once"
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._name = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._name is not None and self.size == 0:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
        os.close(self._descriptor)


def not_written(target: Path, exc: OSError) -> NotWritten:
    why = "a part of the path is a link" if isinstance(exc, NotADirectoryError) else exc.strerror
    return NotWritten(f"{visible(str(target))} cannot be written: {why}")
