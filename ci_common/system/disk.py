"""The room on an installation's disks, and the watermark below which nothing new is begun."""

import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, Self

from ci_common.errors import DiskLow
from ci_common.settings import Settings

MIN_FREE_BYTES = 64 * 1024
"""With less room than this a disk counts as full."""
RECENT_SECONDS = 0.02
"""How old a figure may be by which a submission is let in."""


class Usage(Protocol):
    """How full a disk is, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


class Disk:
    """The disks under `paths`.

    `min_free_bytes` or `min_free_percent` of each are to stay free, whichever is less. `usage` tells how full the disk
    under a path is, and may raise OSError.
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
        """With `recent_seconds`, a disk that had room enough so long ago is not asked again."""
        self._paths = tuple(paths)
        self._bytes = min_free_bytes
        self._percent = min_free_percent
        self._usage = usage
        self._recent_seconds = recent_seconds
        self._clock = clock
        self._known: dict[Path, tuple[float, Usage]] = {}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the disks of data directory and database, with the watermark that `settings` name."""
        return cls(
            (settings.data_path, settings.db_path.absolute().parent),
            min_free_bytes=settings.min_free_bytes,
            min_free_percent=settings.min_free_percent,
            recent_seconds=RECENT_SECONDS,
        )

    def free(self) -> dict[Path, int]:
        """Return the free bytes of each disk that can be seen."""
        return {path: usage.free for path in self._paths if (usage := self._seen(path)) is not None}

    def check(self, *, wanted: int = 0, share: float = 1.0) -> None:
        """Raise DiskLow where `wanted` more bytes would not leave free what is to stay so, or that `share` of it."""
        for path in self._paths:
            try:
                self._check(path, self._recent(path), wanted, share)
            except DiskLow:  # By a figure of a moment ago, perhaps.
                self._check(path, self._seen(path), wanted, share)

    def check_anew(self) -> None:
        """Raise DiskLow where a disk is too full by now. For whoever fills it, which may take less than a moment."""
        for path in self._paths:
            self._check(path, self._seen(path), wanted=0, share=1.0)

    def _check(self, path: Path, usage: Usage | None, wanted: int, share: float) -> None:
        if usage is None:
            return  # What is wrong with it, the writing will tell.
        floor = int(share * min(self._bytes, usage.total * self._percent / 100))
        if usage.free - wanted < floor:
            raise DiskLow(path, free=usage.free, floor=floor, wanted=wanted)

    def _recent(self, path: Path) -> Usage | None:
        """Return how full it is, or was a moment ago, so that a burst of requests asks the system once."""
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


def sync(path: Path) -> None:
    """Wait until a file's contents, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(path: Path) -> bool:
    """Tell whether the disk under `path` is full; one that cannot be seen is not known to be."""
    try:
        return shutil.disk_usage(path).free < MIN_FREE_BYTES
    except OSError:
        return False
