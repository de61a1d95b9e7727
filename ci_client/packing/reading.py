"""Reads files and links of a project that others may be changing."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ci_client.packing.tree import Leaf


class ReadError(OSError):
    """A file of the project cannot be read. `str()` is the reason."""


def read_link(leaf: Leaf) -> bytes:
    """Return the target of a link. Raises FileNotFoundError if it is no longer a link, OSError."""
    try:
        return os.fsencode(os.readlink(leaf.location))
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            raise FileNotFoundError(leaf.path) from exc  # It was a link when it was listed, and is none now.
        raise


@contextmanager
def opened(leaf: Leaf) -> Iterator[tuple[int, os.stat_result]]:
    """Open a file for reading. Raises FileNotFoundError if it is no longer a regular file, and ReadError."""
    try:
        descriptor = os.open(leaf.location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):  # It is a link or a socket now.
            raise FileNotFoundError(leaf.path) from exc
        raise ReadError(exc.strerror) from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(leaf.path)
        yield descriptor, status
    finally:
        os.close(descriptor)


def read_some(descriptor: int, size: int) -> bytes:
    """Read from a file. Raises ReadError."""
    try:
        return os.read(descriptor, size)
    except OSError as exc:
        raise ReadError(exc.strerror) from exc
