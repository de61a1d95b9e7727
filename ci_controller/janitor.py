"""What nobody will ask for any more: containers without a job, and directories that a crash left behind.

Ours is only what carries this installation's id. A row outlives its containers, so a container of ours without a row
is an orphan; but it goes only once it is old enough and has been seen so twice.
"""

import asyncio
import logging
import os
import shutil
import time
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
ABANDONED_SECONDS = 3600.0
"""How long a directory without a job is left alone: its submission may still be on its way into the database."""


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
        """Have the remains of completed jobs cleared, and remove directories without a job."""
        uncleared, all_ids = await asyncio.to_thread(_survey, self._data.jobs)
        rows = await self._writer.repository.get_many(all_ids)
        for job_id in uncleared:
            job = rows.get(job_id)
            if job is not None and job.state is State.COMPLETED:
                self._supervise(job)
        for job_id in all_ids - rows.keys():
            await asyncio.to_thread(_remove_abandoned, self._data.job(job_id))


def _survey(jobs: Path) -> tuple[set[str], set[str]]:
    """Return the ids of the jobs with a workspace, and of all jobs that have a directory."""
    ids = {name for name in os.listdir(jobs) if is_job_id(name)}
    return {job_id for job_id in ids if any((jobs / job_id).glob("*/workspace"))}, ids


def _remove_abandoned(directory: Path) -> None:
    if time.time() - directory.stat().st_mtime > ABANDONED_SECONDS:
        log.warning("removing a directory whose job does not exist: %s", directory.name)
        shutil.rmtree(directory, ignore_errors=True)
