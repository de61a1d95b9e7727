"""Removes what deleted jobs have left behind: workloads first, then files, and then the note that something was left.

The note stands in the same transaction as the deletion of the row, so whoever dies in between, the next leader goes on.
Every step may be repeated.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ci_common.errors import CiError, RuntimeFault, RuntimeUnavailable
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.watch import FileWatcher
from ci_controller.execution.protocol import Execution, Scope, without_row
from ci_controller.runtime.protocol import Runtime, WorkloadKey
from ci_persistence.repository import Lease
from ci_persistence.retention import JobRetention, Removal

log = logging.getLogger(__name__)

BATCH = 100
RETRY_SECONDS = 10.0
"""How long to leave alone what could not be removed."""
LONGEST_WAIT = 60.0
SHORTEST_PAUSE = 0.1
_LOAD = 4
"""Passes take at most one part in this many, and one, of the time."""


class Remover:
    """Empties the removals of one installation for as long as one leader leads."""

    def __init__(
        self,
        *,
        data: DataDirectory,
        retention: JobRetention,
        lease: Lease,
        runtimes: Mapping[str, Runtime],
        executions: Mapping[str, Execution],
        watcher: FileWatcher,
        is_supervised: Callable[[str], bool],
    ) -> None:
        """`is_supervised` tells whether a job still has a supervisor: that one finishes before anything is removed."""
        self._data = data
        self._retention = retention
        self._lease = lease
        self._runtimes = runtimes
        self._executions = executions
        self._is_supervised = is_supervised
        self._wakeups = watcher.subscribe()
        self._put_off: dict[str, float] = {}
        self._awaits_supervisor = False

    def wake(self) -> None:
        """Look for removals soon."""
        self._wakeups.wake()

    def note_supervisor_ended(self) -> None:
        """Look for removals soon, if one is waiting for the end of a supervisor."""
        if self._awaits_supervisor:
            self.wake()

    async def run(self) -> None:
        """Remove what there is to remove, for ever."""
        clock = asyncio.get_running_loop().time
        with self._wakeups:
            while True:
                begun = clock()
                try:
                    await self._empty()
                except (CiError, OSError) as exc:
                    log.warning("what deleted jobs left cannot be removed at present: %s", exc)
                await asyncio.sleep(max(SHORTEST_PAUSE, (clock() - begun) * _LOAD))
                await self._wakeups.wait(self._until_next(clock()))

    def _until_next(self, now: float) -> float:
        return max(0.0, min([LONGEST_WAIT, *(due - now for due in self._put_off.values())]))

    async def _empty(self) -> None:
        """Go through all removals once."""
        after, put_off = "", self._put_off
        self._put_off = {}
        self._awaits_supervisor = False
        now = asyncio.get_running_loop().time()
        while batch := await self._retention.removals(after=after, limit=BATCH):
            after = batch[-1].job_id
            self._put_off |= {r.job_id: put_off[r.job_id] for r in batch if put_off.get(r.job_id, now) > now}
            await self._remove([removal for removal in batch if removal.job_id not in self._put_off])

    async def _remove(self, batch: list[Removal]) -> None:
        unseen, workloads = await self._look({name for removal in batch for name in removal.runtimes})
        gone: list[str] = []
        for removal in batch:
            if self._is_supervised(removal.job_id):
                self._awaits_supervisor = True
                continue  # Its supervisor finds the row gone and ends, which wakes us.
            try:
                if unseen & removal.runtimes:
                    raise RuntimeUnavailable(f"cannot see {', '.join(sorted(unseen & removal.runtimes))}")
                for execution, key in workloads.get(removal.job_id, ()):
                    await execution.clean_up(without_row(key), Scope.WORKLOAD)
                await self._reclaim(removal)
            except (OSError, RuntimeFault) as exc:
                log.warning("deleted job %s: not everything it left can be removed: %s", removal.job_id, exc)
                self._put_off[removal.job_id] = asyncio.get_running_loop().time() + RETRY_SECONDS
            else:
                gone.append(removal.job_id)
        if gone:
            await asyncio.to_thread(_sync, self._data.jobs)
            await self._retention.forget_removals(gone, self._lease)

    async def _look(self, names: set[str]) -> tuple[set[str], dict[str, list[tuple[Execution, WorkloadKey]]]]:
        """Return which of the runtimes do not answer, and what the others have, by job."""
        unseen: set[str] = set()
        workloads: dict[str, list[tuple[Execution, WorkloadKey]]] = {}
        for name in names & self._executions.keys():
            execution = self._executions[name]
            try:
                for key in await execution.list():
                    workloads.setdefault(key.job_id, []).append((execution, key))
            except RuntimeUnavailable:
                unseen.add(name)
        return unseen, workloads

    async def _reclaim(self, removal: Removal) -> None:
        """Delete the job's directory, by a runtime that can delete what the job wrote there."""
        used = [runtime for runtime in self._runtimes.values() if runtime.name in removal.runtimes]
        # The files of another user's that an isolated one leaves, only it can delete.
        runtime = max(used or self._runtimes.values(), key=lambda runtime: runtime.isolated)
        await runtime.delete_tree(self._data.job(removal.job_id))


def _sync(folder: Path) -> None:
    """Have the folder's entries on the disk as they are."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
