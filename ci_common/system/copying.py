"""Copies of directories, in the quickest way that the file system has. Used by a program without other packages.

No file of a copy is a hard link, so what is written into a copy changes nothing of what it was made from.
"""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress

_FICLONE = 0x40049409
_CHUNK = 1 << 30
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_CLONES = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM})


def copy_tree(source: str, target: str) -> None:
    """Copy a directory to a new place: files, directories and links, with their modes, times and, for root, owners.

    Files share their blocks with the copy where the file system can do that. Pipes, sockets and devices are left out.
    Raises OSError, with an incomplete copy.
    """
    _Copier().copy(source, target)


class _Copier:
    def __init__(self) -> None:
        self._clones = sys.platform == "linux"
        self._copies = hasattr(os, "copy_file_range")
        self._is_root = os.geteuid() == 0

    def copy(self, source: str, target: str) -> None:
        os.mkdir(target, 0o700)
        folders = [(source, target, os.lstat(source))]
        for here, there, _ in folders:
            with os.scandir(here) as entries:
                for entry in entries:
                    state = entry.stat(follow_symlinks=False)
                    path = f"{there}/{entry.name}"
                    if stat.S_ISDIR(state.st_mode):
                        os.mkdir(path, 0o700)
                        folders.append((entry.path, path, state))
                    elif stat.S_ISLNK(state.st_mode):
                        os.symlink(os.readlink(entry.path), path)
                    elif stat.S_ISREG(state.st_mode):
                        self._copy_file(entry.path, path, state)
        for _, there, state in reversed(folders):  # A directory may be closed to its owner, and its times change.
            self._own(state, lambda uid, gid, path=there: os.chown(path, uid, gid))  # type: ignore[misc]
            os.chmod(there, stat.S_IMODE(state.st_mode))
            os.utime(there, ns=(state.st_atime_ns, state.st_mtime_ns))

    def _copy_file(self, source: str, target: str, state: os.stat_result) -> None:
        reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            writing = os.open(target, _NEW_FILE, 0o600)
            try:
                if state.st_size and not self._clone(reading, writing):
                    self._copy_bytes(reading, writing)
                self._own(state, lambda uid, gid: os.fchown(writing, uid, gid))
                os.fchmod(writing, stat.S_IMODE(state.st_mode))
                # Compiled modules of Python name the time of their source.
                os.utime(writing, ns=(state.st_atime_ns, state.st_mtime_ns))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _own(self, state: os.stat_result, change: Callable[[int, int], None]) -> None:
        if self._is_root and (state.st_uid, state.st_gid) != (0, 0):
            change(state.st_uid, state.st_gid)

    def _clone(self, reading: int, writing: int) -> bool:
        if self._clones:
            try:
                fcntl.ioctl(writing, _FICLONE, reading)
                return True
            except OSError as exc:
                if exc.errno not in _NO_CLONES:
                    raise
                self._clones = False
        return False

    def _copy_bytes(self, reading: int, writing: int) -> None:
        if self._copies:
            try:
                while os.copy_file_range(reading, writing, _CHUNK):
                    pass
                return
            except OSError as exc:
                if exc.errno not in _NO_CLONES:
                    raise
                self._copies = False
                with suppress(OSError):
                    os.lseek(reading, 0, os.SEEK_SET)
                    os.lseek(writing, 0, os.SEEK_SET)
        while chunk := os.read(reading, 1 << 20):
            while chunk:
                chunk = chunk[os.write(writing, chunk) :]
