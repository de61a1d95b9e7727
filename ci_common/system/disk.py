"""The space on an installation's disks: the watermark below which no new work starts, the ballast, the size of trees.

Jobs, uploads and the database share a disk by default. If a job fills it, the end of that job, a cancellation or a
deletion could not be written to the database, and nothing would ever be removed. The ballast is a file without content
that is truncated then. It stays with a length of 0, as a sign that the disk has been full.
"""

import asyncio
import ctypes
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from ci_common.errors import DiskLow
from ci_common.settings import Settings
from ci_common.system.trees import Folder

MIN_FREE_BYTES = 64 * 1024
"""A disk with less free space counts as full."""
RECENT_SECONDS = 0.02
"""The age up to which a measurement of free space is used for admission."""
BALLAST_BYTES = 4 * 1024**2
"""Enough for the whole write-ahead log of the database."""
_TIMES_FREE = 2
"""This many times the ballast has to be free before it is taken, so that taking it does not fill the disk."""

LONGEST_MEASUREMENT = 10.0
"""Seconds after which a workspace counts as large as what was found of it until then."""

log = logging.getLogger(__name__)


class Usage(Protocol):
    """How full a disk is, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


class Room(NamedTuple):
    """The space on a disk, in bytes."""

    total: int
    free: int
    reserve: int
    """With less free, no new work starts."""


class Disk:
    """The disks under `paths`.

    `min_free_bytes` or `min_free_percent` of each have to stay free, whichever is less. `usage` returns how full the
    disk of a path is, and may raise OSError.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        min_free_bytes: int,
        min_free_percent: float,
        usage: Callable[[Path], Usage] = shutil.disk_usage,
        recent_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With `recent_seconds`, a disk that had enough space that long ago is not measured again."""
        self._paths = tuple(paths)
        self._bytes = min_free_bytes
        self._percent = min_free_percent
        self._usage = usage
        self._recent_seconds = recent_seconds
        self._clock = clock
        self._known: dict[Path, tuple[float, Usage]] = {}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the disks of data directory and database that are here, with the watermark in `settings`."""
        return cls(
            _paths(settings),
            min_free_bytes=settings.min_free_bytes,
            min_free_percent=settings.min_free_percent,
            recent_seconds=RECENT_SECONDS,
        )

    def rooms(self) -> dict[Path, Room]:
        """Measure each disk that can be measured."""
        seen = {path: usage for path in self._paths if (usage := self._seen(path)) is not None}
        return {path: Room(usage.total, usage.free, int(self._floor(usage))) for path, usage in seen.items()}

    def check(self, *, wanted: int = 0, share: float = 1.0) -> None:
        """Raise DiskLow if `wanted` more bytes would leave less free than the watermark, or than `share` of it."""
        for path in self._paths:
            try:
                self._check(path, self._recent(path), wanted, share)
            except DiskLow:  # The measurement may be old.
                self._check(path, self._seen(path), wanted, share)

    def check_again(self) -> None:
        """Raise DiskLow if a disk is below the watermark now, by a new measurement. For callers that fill the disk."""
        for path in self._paths:
            self._check(path, self._seen(path), wanted=0, share=1.0)

    def _check(self, path: Path, usage: Usage | None, wanted: int, share: float) -> None:
        if usage is None:
            return  # Writing to it will report what is wrong.
        floor = int(share * self._floor(usage))
        if usage.free - wanted < floor:
            raise DiskLow(path, free=usage.free, floor=floor, wanted=wanted)

    def _floor(self, usage: Usage) -> float:
        """Return how many bytes have to stay free."""
        return min(self._bytes, usage.total * self._percent / 100)

    def _recent(self, path: Path) -> Usage | None:
        """Return a new or recent measurement, so that a burst of requests measures once."""
        known = self._known.get(path)
        if known is not None and self._clock() - known[0] < self._recent_seconds:
            return known[1]
        return self._seen(path)

    def _seen(self, path: Path) -> Usage | None:
        try:
            usage = self._usage(path)
        except OSError:
            return None
        self._known[path] = self._clock(), usage
        return usage


def _paths(settings: Settings) -> Iterator[Path]:
    if settings.has_files:
        yield settings.data_path
    if settings.database.path is not None:
        yield settings.database.path.absolute().parent


def sync(path: Path) -> None:
    """Wait until the contents of a file, or the entries of a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(path: Path) -> None:
    """Wait until all that was written to the file system of `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if (syncfs := getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)) is None:  # Only Linux has it.
            os.sync()
        elif syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "the disk could not take what was written")
    finally:
        os.close(descriptor)


def is_full(path: Path) -> bool:
    """Return whether the disk of `path` is full; False if it cannot be measured."""
    try:
        return shutil.disk_usage(path).free < MIN_FREE_BYTES
    except OSError:
        return False


class Ballast:
    """The ballast file of one database. Several processes may use it at once.

    Only a database that is a file takes one. A server has a disk of its own.
    """

    def __init__(self, database: Path, *, size: int = BALLAST_BYTES) -> None:
        # SQLite follows a link to a database, and puts its files beside the target.
        target = database.resolve()
        self.path = target.with_name(f"{target.name}-ballast")
        self._size = size

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the ballast of the database that `settings` name."""
        return cls(settings.database.path or settings.data_path / "database")

    def is_kept(self) -> bool:
        """Return whether there is a ballast to give up."""
        return self._length() > 0

    def was_given_up_for(self, path: Path) -> bool:
        """Return whether the ballast was given up, and lies on the disk of `path`."""
        return self._length() == 0 and self.path.stat().st_dev == path.stat().st_dev

    def is_missed_for(self, path: Path) -> bool:
        """Return whether that is so, and the disk has too little space to take the ballast again."""
        return self.was_given_up_for(path) and not self._has_room()

    def _has_room(self) -> bool:
        return shutil.disk_usage(self.path.parent).free >= _TIMES_FREE * self._size

    def _length(self) -> int:
        """Return the file's length in bytes; -1 if there is no file."""
        try:
            return self.path.lstat().st_size
        except OSError:
            return -1

    def give_up(self) -> bool:
        """Free the ballast; return whether there was one."""
        if not self.is_kept():
            return False
        try:
            os.truncate(self.path, 0)
        except OSError as exc:
            log.error("the ballast at %s cannot be truncated: %s", self.path, exc)
            return False
        log.error("the disk of %s is full: the ballast of %d bytes is truncated", self.path, self._size)
        return True

    def take(self) -> None:
        """Take the ballast, if there is none and the disk has enough space."""
        if self.is_kept():
            return
        with suppress(OSError):  # The next attempt may find more space.
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


async def measure_tree(path: Path, *, enough: int, seconds: float = LONGEST_MEASUREMENT) -> int:
    """Return the bytes that the tree at `path` takes on its disk; counting ends once they are more than `enough`.

    A thread looks for at most `seconds`. Sparse files count with what they occupy, hard links once. What is closed to
    this process by its owner does not count, and no symbolic link is followed.
    """
    given_up = threading.Event()
    deadline = time.monotonic() + seconds

    def add_up() -> int:
        total, linked = 0, set()
        for state in _states_below(path):
            if state.st_nlink > 1 and not stat.S_ISDIR(state.st_mode):
                if (state.st_dev, state.st_ino) in linked:
                    continue
                linked.add((state.st_dev, state.st_ino))
            total += state.st_blocks * 512
            if total > enough or given_up.is_set() or time.monotonic() > deadline:
                break
        return total

    try:
        return await asyncio.to_thread(add_up)
    finally:
        given_up.set()  # A thread cannot be cancelled.


def _states_below(top: Path) -> Iterator[os.stat_result]:
    """Yield the state of everything below the directory, which a job may be changing."""
    try:
        with Folder.opened(top) as opened:
            for folder in opened.walk(lenient=True):
                for entry in folder.entries():
                    with suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False)
    except OSError:
        return  # It is gone, or no directory any more.
