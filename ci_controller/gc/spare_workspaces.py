"""Spare workspaces that no upload has used."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from ci_common.errors import DiskLow
from ci_common.manifests.session import SPARE
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.disk import Disk
from ci_common.system.trees import Folder
from ci_common.times import Clock
from ci_controller.gc.directories import scan_gently
from ci_controller.gc.runner import Collector
from ci_controller.runtime.protocol import Check, Runtime

UNUSED_SECONDS = 3600.0


@dataclass(eq=False)
class SpareWorkspaces(Collector[Path]):
    """Those that are older than an hour, and all if the disk has too little space."""

    name = "spare workspaces"
    seconds = 1800.0
    data: DataDirectory
    disk: Disk
    clock: Clock
    runtime: Runtime
    check: Check
    """Called before files are deleted; may forbid it by raising."""

    async def find(self) -> AsyncGenerator[list[Path], None]:
        before = self.clock().timestamp() - UNUSED_SECONDS
        try:
            self.disk.check()
        except DiskLow:
            before = float("inf")

        def unused(job: "os.DirEntry[str]") -> list[Path]:
            try:
                with Folder.opened(Path(job.path)) as folder:
                    return [
                        Path(job.path, entry.name)
                        for entry in folder.entries()
                        if entry.name.startswith(SPARE) and entry.stat(follow_symlinks=False).st_ctime < before
                    ]
            except OSError:
                return []  # It has just gone.

        async with aclosing(scan_gently(self.data.jobs, unused)) as found:
            async for paths in found:
                yield paths

    async def remove_one(self, item: Path) -> None:
        self.check()
        await self.runtime.delete_tree(item)
