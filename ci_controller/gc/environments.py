"""Prepared environments from which no job starts any more: their rows, what the rows named, and unfinished ones."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.settings import Settings
from ci_common.system.disk import measure_tree
from ci_controller.environments import Environments
from ci_controller.gc.runner import FOUND_TWICE, Collector
from ci_controller.runtime.protocol import EnvironmentMaker, Runtime
from ci_persistence.stores.kept.environments import EnvironmentStore
from ci_persistence.stores.leases import Lease

log = logging.getLogger(__name__)

DOWNLOADS_SHARE = 4
"""Downloads may take one part in this many of the space that environments may take, in addition to it."""
DOWNLOADS_SECONDS = 30 * 86_400.0
"""How long downloads stay that are not used."""
MOST = 10_000
"""How many environments there may be."""
Reference = tuple[str, str]
"""The name of a runtime, and where it has an environment."""


async def _listed(maker: EnvironmentMaker) -> set[str] | None:
    """Return the references of all environments of a runtime, or None if it does not answer: others may do so."""
    try:
        return await maker.list_environments()
    except RuntimeUnavailable as exc:
        log.info("environments of a runtime cannot be seen at present: %s", exc)
        return None


async def _in_use(environments: Mapping[str, Environments]) -> set[Path]:
    """Return the directories in which environments are made, once they are known."""
    return {directory for each in environments.values() for directory in await each.builds.directories()}


@dataclass(eq=False)
class ExpiredEnvironments(Collector[str]):
    """Rows of environments beyond the limit on disk space, and of those that are gone from their runtime."""

    name = "expired environments"
    seconds = 300.0
    retry_seconds = 60.0
    settings: Settings
    makers: Mapping[str, EnvironmentMaker]
    store: EnvironmentStore
    lease: Lease

    async def find(self) -> AsyncGenerator[list[str], None]:
        # The rows first: what is made in between has no row here.
        stored = await self.store.list(limit=MOST)
        runtimes = {environment.runtime for environment in stored} & self.makers.keys()
        there = {name: await _listed(self.makers[name]) for name in runtimes}
        room, expired = self.settings.prepared_bytes, []
        for environment in stored:
            room -= environment.size
            found = there.get(environment.runtime, set())
            if room < 0 or (found is not None and environment.reference not in found):
                expired.append(environment.key)
        yield expired

    async def remove(self, items: list[str]) -> dict[str, Exception]:
        await self.store.remove(items, lease=self.lease)
        return {}


@dataclass(eq=False)
class OrphanEnvironments(Collector[Reference]):
    """What no row names any more, or not yet: as after a death between the two, a renewal or a removal."""

    name = "orphan environments"
    seconds = 300.0
    retry_seconds = 300.0
    grace_seconds = 60.0
    again_seconds = 60.0
    makers: Mapping[str, EnvironmentMaker]
    store: EnvironmentStore
    environments: Mapping[str, Environments]

    async def find(self) -> AsyncGenerator[list[Reference], None]:
        for name, maker in self.makers.items():
            # The rows last: what is made in between is not listed.
            there = await _listed(maker)
            if there:
                known = {environment.reference for environment in await self.store.list(limit=MOST)}
                yield [(name, reference) for reference in sorted(there - known)]

    async def remove_one(self, item: Reference) -> None:
        name, reference = item
        self.environments[name].drop(reference)
        await self.makers[name].remove_environment(reference)


@dataclass(eq=False)
class OldDownloads(Collector[Path]):
    """What setups of projects have downloaded, where it is too much or was not used for long."""

    name = "old downloads"
    retry_seconds = 300.0
    settings: Settings
    data: DataDirectory
    able: Runtime
    environments: Mapping[str, Environments]

    async def find(self) -> AsyncGenerator[list[Path], None]:
        if await _in_use(self.environments):
            return  # A setup may use one of them.
        found = await asyncio.to_thread(self._by_use)
        room, old, now = self.settings.prepared_bytes // DOWNLOADS_SHARE, [], time.time()
        for used, path in found:
            room -= await measure_tree(path, enough=sys.maxsize)
            if room < 0 or now - used > DOWNLOADS_SECONDS:
                old.append(path)
        yield old

    def _by_use(self) -> list[tuple[float, Path]]:
        try:
            entries = list(os.scandir(self.data.downloads))
        except FileNotFoundError:
            return []
        return sorted(((entry.stat().st_mtime, Path(entry.path)) for entry in entries), reverse=True)

    async def remove_one(self, item: Path) -> None:
        await self.able.delete_tree(item)


@dataclass(eq=False)
class EnvironmentDirectories(Collector[Path]):
    """Directories in which environments were being made."""

    name = "directories of unfinished environments"
    grace_seconds = FOUND_TWICE
    again_seconds = 30.0
    seconds = 300.0
    data: DataDirectory
    able: Runtime
    environments: Mapping[str, Environments]

    async def find(self) -> AsyncGenerator[list[Path], None]:
        try:
            names = os.listdir(self.data.environments)
        except FileNotFoundError:
            names = []
        used = await _in_use(self.environments)
        yield [path for name in names if (path := self.data.environments / name) not in used]

    async def remove_one(self, item: Path) -> None:
        await self.able.delete_tree(item)
