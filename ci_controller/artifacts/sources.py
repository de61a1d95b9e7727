"""The content of one file of a workspace, read while the job may still change it."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from ci_common.artifacts.store import CHUNK
from ci_common.artifacts.types import content_type_of, disposition_of
from ci_common.system.trees import Folder
from ci_controller.artifacts.selection import Check, Found

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotKept(Exception):
    """The file is not kept. The message says why."""


class Changed(NotKept):
    """The file was changed while it was being read."""


class FileSource:
    """A file below an open directory. Once `chunks` has come to its end, `size` and `sha256` are of what it gave.

    It is read through open directories, up to the length that it had when it was opened; what is no regular file by
    then, or has changed when all of it is read, is not kept.
    """

    def __init__(self, root: Folder, found: Found, key: str, *, most_bytes: int, check: Check) -> None:
        """`most_bytes` is how large it may be; `check` is called before each chunk, and may raise."""
        self.found = found
        self.key = key
        self.content_type = content_type_of(found.path)
        self.expected = most_bytes
        self.size = 0
        self.sha256 = ""
        self.root = root
        self._check = check

    @property
    def disposition(self) -> str:
        return disposition_of(self.found.path, self.content_type, download=True)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content. Raises NotKept, and what `check` raises."""
        *folders, name = self.found.path.split("/")
        try:
            with self.root.folder(*folders) as folder:
                descriptor = os.open(name, _READ, dir_fd=folder.descriptor)
        except OSError as exc:
            raise NotKept(_why_not(exc)) from exc
        try:
            yield from self._read(descriptor)
        except OSError as exc:
            raise NotKept(_why_not(exc)) from exc
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> Iterator[bytes]:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Changed("it was replaced by what is not a file while it was being kept")
        if before.st_size > self.expected:
            raise NotKept(f"it has {before.st_size} bytes, and has grown since it was found")
        digest, size = hashlib.sha256(), 0
        while size < before.st_size:
            self._check()
            chunk = os.pread(descriptor, min(CHUNK, before.st_size - size), size)
            if not chunk:
                raise Changed("it became shorter while it was being kept")
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        after = os.fstat(descriptor)
        if (after.st_size, after.st_ctime_ns) != (before.st_size, before.st_ctime_ns):
            raise Changed("it changed while it was being kept")
        self.size, self.sha256 = size, digest.hexdigest()


def _why_not(exc: OSError) -> str:
    match exc.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return "it was removed before it was kept"
        case errno.ELOOP:
            return "it was replaced by a link before it was kept"
        case errno.ENXIO:
            return "it was replaced by a socket or a FIFO before it was kept"
    return f"it cannot be read: {exc.strerror}"
