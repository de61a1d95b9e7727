"""The room on an installation's disks, and the watermark below which nothing new is begun."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, Self

from ci_common.errors import DiskLow
from ci_common.settings import Settings


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
    ) -> None:
        self._paths = tuple(paths)
        self._bytes = min_free_bytes
        self._percent = min_free_percent
        self._usage = usage

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the disks of data directory and database, with the watermark that `settings` name."""
        return cls(
            (settings.data_path, settings.db_path.absolute().parent),
            min_free_bytes=settings.min_free_bytes,
            min_free_percent=settings.min_free_percent,
        )

    def check(self, *, wanted: int = 0, share: float = 1.0) -> None:
        """Raise DiskLow where `wanted` more bytes would not leave free what is to stay so, or that `share` of it."""
        for path in self._paths:
            try:
                usage = self._usage(path)
            except OSError:
                continue  # What is wrong with it, the writing will tell.
            floor = int(share * min(self._bytes, usage.total * self._percent / 100))
            if usage.free - wanted < floor:
                raise DiskLow(path, free=usage.free, floor=floor, wanted=wanted)
