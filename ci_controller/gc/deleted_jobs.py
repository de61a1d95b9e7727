"""What deleted jobs have left behind: workloads go first, then files, and then the note that something was left.

The note is written in the transaction that deletes the row, so the next leader goes on where one died.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from ci_common.errors import RuntimeUnavailable
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.disk import sync
from ci_controller.execution.protocol import Execution, Scope, without_row
from ci_controller.gc.runner import Collector
from ci_controller.runtime.protocol import Runtime, WorkloadKey
from ci_persistence.repository import Lease
from ci_persistence.retention import JobRetention, Removal

BATCH = 100

Workloads = dict[str, list[tuple[Execution, WorkloadKey]]]


@dataclass(eq=False, kw_only=True)
class DeletedJobs(Collector[Removal]):
    """Carries out the removals of one installation."""

    name = "what deleted jobs have left"
    seconds = 60.0
    retry_seconds = 10.0
    data: DataDirectory
    retention: JobRetention
    lease: Lease
    runtimes: Mapping[str, Runtime]
    executions: Mapping[str, Execution]
    is_supervised: Callable[[str], bool]
    """Returns whether a job still has a supervisor, which finishes before anything is removed."""
    awaits_supervisor: bool = False
    """Whether a removal waits for the end of a supervisor."""

    async def find(self) -> AsyncGenerator[list[Removal], None]:
        after, self.awaits_supervisor = "", False
        while batch := await self.retention.removals(after=after, limit=BATCH):
            after = batch[-1].job_id
            removals = [removal for removal in batch if not self.is_supervised(removal.job_id)]
            # A supervisor finds the row gone and ends, which wakes this collector.
            self.awaits_supervisor = self.awaits_supervisor or len(removals) < len(batch)
            yield removals

    async def remove(self, items: list[Removal]) -> dict[Removal, Exception]:
        self._unseen, self._workloads = await self._list({name for removal in items for name in removal.runtimes})
        failed = await super().remove(items)
        if removed := [removal.job_id for removal in items if removal not in failed]:
            await asyncio.to_thread(sync, self.data.jobs)
            await self.retention.forget_removals(removed, self.lease)
        return failed

    async def remove_one(self, item: Removal) -> None:
        if hidden := self._unseen & item.runtimes:
            raise RuntimeUnavailable(f"cannot see the workloads of {', '.join(sorted(hidden))}")
        for execution, key in self._workloads.get(item.job_id, ()):
            await execution.clean_up(without_row(key), Scope.WORKLOAD)
        # What another user wrote in an isolated runtime, only that one can delete.
        used = [runtime for runtime in self.runtimes.values() if runtime.name in item.runtimes]
        able = max(used or self.runtimes.values(), key=lambda runtime: runtime.isolated)
        await able.delete_tree(self.data.job(item.job_id))

    async def _list(self, names: set[str]) -> tuple[set[str], Workloads]:
        """Return which of the runtimes do not answer, and the workloads of the others by job."""
        unseen: set[str] = set()
        workloads: Workloads = {}
        for name in names & self.executions.keys():
            execution = self.executions[name]
            try:
                for key in await execution.list():
                    workloads.setdefault(key.job_id, []).append((execution, key))
            except RuntimeUnavailable:
                unseen.add(name)
        return unseen, workloads
