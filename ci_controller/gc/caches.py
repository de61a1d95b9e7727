"""Caches that no job gets any more: their rows, and archives without a row."""

import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.tasks import in_thread
from ci_controller.caches.caches import MOST, surplus_of
from ci_controller.caches.files import archive_of
from ci_controller.gc.runner import FOUND_TWICE, Collector
from ci_controller.runtime.protocol import Check
from ci_persistence.stores.kept.caches import CacheStore
from ci_persistence.stores.leases import Lease


@dataclass(eq=False)
class ExpiredCaches(Collector[str]):
    """Rows of caches beyond the limit on disk space, and of those whose archive is gone, as after a restore."""

    name = "expired caches"
    seconds = 300.0
    retry_seconds = 60.0
    settings: Settings
    data: DataDirectory
    store: CacheStore
    lease: Lease

    async def find(self) -> AsyncGenerator[list[str], None]:
        stored = await self.store.list(limit=MOST)
        there = await in_thread(archives, self.data)
        gone = {cache.id for cache in stored if archive_of(self.data, cache.id).name not in there}
        yield [*gone, *surplus_of((cache for cache in stored if cache.id not in gone), self.settings.cache_bytes)]

    async def remove(self, items: list[str]) -> dict[str, Exception]:
        await self.store.drop(items, lease=self.lease)
        return {}


@dataclass(eq=False)
class OrphanArchives(Collector[Path]):
    """Archives that no row names any more, or not yet: as after a death between the two, and what was replaced."""

    name = "archives of removed caches"
    seconds = 60.0
    retry_seconds = 300.0
    grace_seconds = FOUND_TWICE
    data: DataDirectory
    store: CacheStore
    check: Check

    async def find(self) -> AsyncGenerator[list[Path], None]:
        # The rows last: what is saved in between is not listed.
        there = await in_thread(archives, self.data)
        if there:
            known = {archive_of(self.data, cache.id).name for cache in await self.store.list(limit=MOST)}
            yield [self.data.caches / name for name in sorted(there - known)]

    async def remove_one(self, item: Path) -> None:
        self.check()
        await in_thread(item.unlink, True)


def archives(data: DataDirectory) -> set[str]:
    """Return the names of all archives of caches. Raises OSError."""
    try:
        return set(os.listdir(data.caches))
    except FileNotFoundError:
        return set()
