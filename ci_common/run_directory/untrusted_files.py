"""Safe reading of files that a job may have tampered with.

No symbolic link is followed, no FIFO or device is opened, and what is read at once is limited.
"""

import errno
import os
import stat
from pathlib import Path

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE_FOR_US = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM})


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor. Neither the file nor its directory may be a link.

    Raises FileNotFoundError if there is no such file, if it is not a regular file, or if its mode denies access. Other
    errors, such as too many open files, say nothing about the file: OSError.
    """
    try:
        descriptor = _opened(*os.path.split(path))
    except OSError as exc:
        if exc.errno not in _NO_FILE_FOR_US:
            raise
        raise FileNotFoundError(f"no readable regular file at {path}: {exc}") from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{path} is not a regular file")
    return descriptor


def _opened(folder: str, name: str) -> int:
    parent = os.open(folder or ".", _FOLDER)
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)


def read_capped(path: Path, limit: int) -> bytes | None:
    """Return at most the first `limit` bytes of a regular file, or None if there is none."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    try:
        return os.pread(descriptor, limit, 0)
    finally:
        os.close(descriptor)
