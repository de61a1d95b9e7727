"""Linux's inotify as it is: watches in, numbers of changed watches out. `ci_common.system.watch` is its one user."""

import ctypes
import os
import struct
from enum import IntFlag
from pathlib import Path


class Mask(IntFlag):
    """What a watch is for, in the values of the kernel's interface."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_TO = 0x80
    CREATE = 0x100
    ONLYDIR = 0x1000000
    DONT_FOLLOW = 0x2000000


OVERFLOW = -1
"""In place of a watch's number: events have been lost, of any of them."""

_EVENT = struct.Struct("=i8xI")
_BUFFER_BYTES = 16 * 1024


class Inotify:
    """One instance. Raises OSError where the system has none, or none left for this user."""

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor = _checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        except AttributeError as exc:
            raise OSError(f"the system has no inotify: {exc}") from exc

    def add(self, path: Path, mask: Mask) -> int:
        """Watch a file or directory; return the watch's number, always the same for the same one. Raises OSError."""
        return _checked(self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, number: int) -> None:
        """End a watch. Raises OSError where it has ended by itself, with its file."""
        _checked(self._libc.inotify_rm_watch(self.descriptor, number))

    def changed(self) -> set[int]:
        """Return the watches for which there are events, all that have come so far, or OVERFLOW. Never waits."""
        try:
            events = os.read(self.descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return set()
        numbers, position = set(), 0
        while position < len(events):
            number, length = _EVENT.unpack_from(events, position)
            numbers.add(number)
            position += _EVENT.size + length
        return numbers

    def close(self) -> None:
        """End all watches."""
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
