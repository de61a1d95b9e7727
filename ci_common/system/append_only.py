"""Files that may only grow: chattr's attribute `a`, which the kernel keeps, where file system and privileges allow it.

While a file has it, nothing opens it but for reading or for appending, and nothing truncates, renames or removes it or
gives it another link: not the user root either, in a container that may not take the attribute away. The directory that
holds the file can be renamed.
"""

import errno
import fcntl
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

from ci_common.run_directory.layout import open_regular

_LONG = struct.calcsize("l")
_GET = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1  # FS_IOC_GETFLAGS
_SET = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2  # FS_IOC_SETFLAGS
_APPEND = 0x20  # FS_APPEND_FL
_IMMUTABLE = 0x10  # FS_IMMUTABLE_FL


def make_append_only(path: Path) -> bool:
    """Have the regular file at `path` only grow from now on; return whether the kernel sees to that.

    What has the file open for writing must have it open for appending.
    """
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    try:
        return _change(descriptor, on=_APPEND)
    finally:
        os.close(descriptor)


def allow_changes(path: str | Path, *, dir_fd: int | None = None) -> bool:
    """Undo `make_append_only`, and what a job may have done of that kind; return whether the file can be changed.

    `path` is relative to the directory that is open as `dir_fd`, where that is given. Of anything but a regular file or
    a directory, nothing is undone: opening a device may do something.
    """
    try:
        mode = os.lstat(path, dir_fd=dir_fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        return _change(descriptor, off=_APPEND | _IMMUTABLE)
    finally:
        os.close(descriptor)


def allow_changes_to_logs(data: Path) -> None:
    """Undo `make_append_only` for the logs of all jobs in a data directory that is to be deleted as a whole."""
    for log in data.glob("jobs/*/*/log"):
        allow_changes(log)


def unlink(path: str | Path, *, dir_fd: int | None = None) -> None:
    """Remove a file, also one that may only grow; `dir_fd` as in `allow_changes`. Raises OSError."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except PermissionError as exc:
        if exc.errno != errno.EPERM or not allow_changes(path, dir_fd=dir_fd):
            raise
        os.unlink(path, dir_fd=dir_fd)


def _change(descriptor: int, *, on: int = 0, off: int = 0) -> bool:
    with suppress(OSError):  # Another system, a file system without attributes, or not allowed to this process.
        (flags,) = struct.unpack("i", fcntl.ioctl(descriptor, _GET, bytes(4))[:4])
        wanted = flags & ~off | on
        if wanted != flags:
            fcntl.ioctl(descriptor, _SET, struct.pack("i", wanted))
        return True
    return False
