"""What nobody will ask for any more: containers without a job, and what a crash left of completed jobs.

Ours is only what carries this installation's id. A row outlives its containers, so a container of ours without a row
is an orphan; but it goes only once it has been one for a while.
"""

import logging
import os
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

from ci_common.errors import RuntimeFault
from ci_common.jobs import Job, State, is_job_id
from ci_common.run_directory.layout import LOG, DataDirectory
from ci_common.system.directory_scan import scan_gently
from ci_common.system.trees import Folder
from ci_controller.job_writer import JobWriter
from ci_controller.runtime.protocol import Runtime, Sighting, WorkloadKey

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 60.0
"""How long a workload must have been seen without a job before it is removed."""


class Janitor:
    """Removes what is left over on one runtime and in the data directory."""

    def __init__(self, data: DataDirectory, writer: JobWriter, supervise: Callable[[Job], None]) -> None:
        self._data = data
        self._writer = writer
        self._supervise = supervise
        self._seen: dict[tuple[str, WorkloadKey], float] = {}
        """Orphans by the uptime at which they were first seen; unlike their own date, nobody sets that."""

    async def sweep_orphans(self, runtime: Runtime, orphans: list[Sighting]) -> None:
        """Remove those of `orphans`, workloads without a row, that have been seen to be such for long enough."""
        now = self._writer.uptime()
        others = {pair: since for pair, since in self._seen.items() if pair[0] != runtime.name}
        ours = [(runtime.name, orphan.key) for orphan in orphans]
        self._seen = others | {pair: self._seen.get(pair, now) for pair in ours}
        for orphan in orphans:
            if now - self._seen[runtime.name, orphan.key] >= ORPHAN_SECONDS:
                log.warning("removing a workload whose job does not exist: %s", orphan.key.job_id)
                try:
                    await runtime.remove(orphan.key)
                except RuntimeFault as exc:  # The next look tries again; the others are not to wait for it.
                    log.warning("it cannot be removed at present: %s", exc)

    async def sweep_directories(self) -> None:
        """Have cleared what attempts that have ended left, where a controller died before it could do that."""
        async with aclosing(scan_gently(self._data.jobs, _uncleared)) as found:
            async for uncleared in found:
                jobs = await self._writer.repository.get_many({key.job_id for key in uncleared})
                for key in uncleared:
                    job = jobs.get(key.job_id)
                    if job is None or key.attempt > job.attempt:
                        continue
                    if job.as_of(key.attempt).state is State.COMPLETED:
                        self._supervise(job.as_of(key.attempt))


def _uncleared(job: "os.DirEntry[str]") -> set[WorkloadKey]:
    """Return those of the job's attempts whose run directory has more than a log, or is none."""
    found: set[WorkloadKey] = set()
    with suppress(OSError), Folder.opened(Path(job.path)) as folder:
        for name in folder.names():
            if name.isdecimal() and is_job_id(job.name) and _holds_more_than_a_log(folder, name):
                found.add(WorkloadKey(job.name, int(name)))
    return found


def _holds_more_than_a_log(job: Folder, name: str) -> bool:
    try:
        with job.folder(name) as run:
            return not run.names() <= {LOG}
    except NotADirectoryError:
        return True
    except OSError:
        return False  # It has just gone.
