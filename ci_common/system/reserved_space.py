"""Room that is kept back beside the database, so that a full disk can still be written to by what makes room again.

Jobs, uploads and the database share a disk by default. When a job fills it, the end of that job, a cancellation or a
deletion could not be written down, and nothing would ever be removed. A file without content takes up the room until
then. Given up, it stays with no length, which tells that the disk has been full.
"""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

BALLAST_BYTES = 4 * 1024**2
"""Enough for the database's whole write-ahead log."""
_TIMES_FREE = 2
"""How many times that has to be free before it is taken, so that what is taken fills no disk."""

log = logging.getLogger(__name__)


class Ballast:
    """The room kept back for one database. Several processes may use it at once."""

    def __init__(self, database: Path, *, size: int = BALLAST_BYTES) -> None:
        # SQLite follows a link to a database, and puts its files beside the target.
        target = database.resolve()
        self.path = target.with_name(f"{target.name}-ballast")
        self._size = size

    def is_kept(self) -> bool:
        """Tell whether there is room to give up."""
        return self._length() > 0

    def was_given_up_for(self, path: Path) -> bool:
        """Tell whether the disk that holds `path` has been so full that the room was given up, and it still is."""
        return self._length() == 0 and self.path.stat().st_dev == path.stat().st_dev

    def is_missed_for(self, path: Path) -> bool:
        """Tell whether that is so, and the disk has too little room to keep any back again."""
        return self.was_given_up_for(path) and not self._has_room()

    def _has_room(self) -> bool:
        return shutil.disk_usage(self.path.parent).free >= _TIMES_FREE * self._size

    def _length(self) -> int:
        """Return the file's length in bytes, -1 where there is none."""
        try:
            return self.path.lstat().st_size
        except OSError:
            return -1

    def give_up(self) -> bool:
        """Make room on the disk; return whether there was any to be made."""
        if not self.is_kept():
            return False
        try:
            os.truncate(self.path, 0)
        except OSError as exc:
            log.error("the room that was kept back at %s cannot be given up: %s", self.path, exc)
            return False
        log.error("the disk under %s is full: %d bytes that were kept back are given up", self.path, self._size)
        return True

    def take(self) -> None:
        """Keep room back, where none is and where the disk has enough."""
        if self.is_kept():
            return
        with suppress(OSError):  # The next attempt may find more room.
            if not self._has_room():
                return
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                self._fill(descriptor)
            except OSError:
                os.ftruncate(descriptor, 0)
                raise
            finally:
                os.close(descriptor)

    def _fill(self, descriptor: int) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, self._size)
        else:
            os.pwrite(descriptor, bytes(self._size), 0)
