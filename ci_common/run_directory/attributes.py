"""Attributes of files and directories, as `chattr` sets them.

A file with chattr's attribute `a` is append-only: the kernel refuses to open it except for reading or appending, and to
truncate, rename, remove or link it. That holds for root, too, in a container without the capability to remove the
attribute. It needs support from the file system, and privileges. The directory of the file can still be renamed.
"""

import fcntl
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

from ci_common.run_directory.untrusted_files import open_regular

_LONG = struct.calcsize("l")
_GET = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1  # FS_IOC_GETFLAGS
_SET = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2  # FS_IOC_SETFLAGS
_APPEND = 0x20  # FS_APPEND_FL
_IMMUTABLE = 0x10  # FS_IMMUTABLE_FL
_APART = 0x20000  # FS_TOPDIR_FL
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_append_only(path: Path) -> bool:
    """Make the regular file at `path` append-only; return whether the kernel enforces that.

    Processes that have the file open for writing must have it open for appending.
    """
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    try:
        return _change(descriptor, on=_APPEND)
    finally:
        os.close(descriptor)


def make_place_of_trees(path: Path) -> None:
    """Make a directory, which may exist, for directories that have nothing to do with each other. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    place_apart(path)


def place_apart(directory: Path) -> bool:
    """Let the file system place the directories in this one apart; return whether that is new. Raises OSError.

    ext4 does that with chattr's attribute `T`. Otherwise it places new files where another job's files have just been
    deleted, and looks at each inode deleted there in the last minutes before it takes one: 20,000 files took three
    times as long.
    """
    descriptor = os.open(directory, _DIRECTORY)
    try:
        return not _has(descriptor, _APART) and _change(descriptor, on=_APART)
    finally:
        os.close(descriptor)


def allow_changes(path: str | Path, *, dir_fd: int | None = None) -> bool:
    """Remove the attributes append-only and immutable; return whether the file can be changed now.

    With `dir_fd`, `path` is relative to that open directory. Only regular files and directories are opened: opening a
    device may have effects.
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
    """Undo `make_append_only` for the logs of all jobs in a data directory before all of it is deleted."""
    for log in data.glob("jobs/*/*/log"):
        allow_changes(log)


def _has(descriptor: int, flag: int) -> bool:
    with suppress(OSError):
        return bool(_flags(descriptor) & flag)
    return False


def _change(descriptor: int, *, on: int = 0, off: int = 0) -> bool:
    with suppress(OSError):  # Another system, no support by the file system, or no privileges.
        flags = _flags(descriptor)
        wanted = flags & ~off | on
        if wanted != flags:
            fcntl.ioctl(descriptor, _SET, struct.pack("i", wanted))
        return True
    return False


def _flags(descriptor: int) -> int:
    flags: int = struct.unpack("i", fcntl.ioctl(descriptor, _GET, bytes(4))[:4])[0]
    return flags
