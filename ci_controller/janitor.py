"""What nobody will ask for any more: containers without a job, and what a crash left of completed jobs.

Ours is only what carries this installation's id. A row outlives its containers, so a container of ours without a row
is an orphan; but it goes only once it is old enough and has been seen so twice.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from ci_common.ids import is_job_id
from ci_common.jobs import Job, State
from ci_common.layout import DataDirectory
from ci_controller.completion import Writer
from ci_controller.runtime.protocol import Runtime, Sighting, WorkloadKey

log = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(seconds=60)
"""How old a workload without a job must be before it is removed."""


class Janitor:
    """Removes what is left over on one runtime and in the data directory."""

    def __init__(self, data: DataDirectory, writer: Writer, supervise: Callable[[Job], None]) -> None:
        self._data = data
        self._writer = writer
        self._supervise = supervise
        self._seen: set[tuple[str, WorkloadKey]] = set()

    async def sweep_orphans(self, runtime: Runtime, orphans: list[Sighting]) -> None:
        """Remove those of `orphans`, workloads without a row, that are old and were here at the last sweep too."""
        now = self._writer.clock()
        seen_before = {key for name, key in self._seen if name == runtime.name}
        self._seen = {pair for pair in self._seen if pair[0] != runtime.name}
        self._seen |= {(runtime.name, orphan.key) for orphan in orphans}
        for orphan in orphans:
            if orphan.key in seen_before and now - orphan.created > ORPHAN_AGE:
                log.warning("removing a workload whose job does not exist: %s", orphan.key.job_id)
                await runtime.remove(orphan.key)

    async def sweep_directories(self) -> None:
        """Have the workspaces of attempts that have ended cleared that a controller left which died just then."""
        uncleared = await asyncio.to_thread(_with_workspace, self._data.jobs)
        jobs = await self._writer.repository.get_many({key.job_id for key in uncleared})
        for key in uncleared:
            job = jobs.get(key.job_id)
            if job is None or key.attempt > job.attempt:
                continue
            if job.as_of(key.attempt).state is State.COMPLETED:
                self._supervise(job.as_of(key.attempt))


def _with_workspace(jobs: Path) -> set[WorkloadKey]:
    """Return the attempts that have a workspace."""
    return {
        WorkloadKey(name, int(workspace.parent.name))
        for name in os.listdir(jobs)
        if is_job_id(name)
        for workspace in (jobs / name).glob("*/workspace*")
        if workspace.parent.name.isdecimal()
    }
