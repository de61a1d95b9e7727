"""All collectors of one controller, and what wakes them. The one of workloads is defined here."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ci_common.jobs import Job
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.execution.protocol import Execution, Scope, without_row
from ci_controller.gc.deleted_jobs import DeletedJobs
from ci_controller.gc.directories import InterruptedSubmissions, OrphanDirectories, UncleanAttempts
from ci_controller.gc.expired_jobs import Ages, ExpiredJobs, ExpiredUploads
from ci_controller.gc.runner import Collector, GarbageCollector
from ci_controller.job_writer import JobWriter
from ci_controller.runtime.protocol import Check, Runtime, WorkloadKey
from ci_persistence.retention import JobRetention


@dataclass(eq=False)
class OrphanWorkloads(Collector[WorkloadKey]):
    """Workloads of this installation that have no row. Rows outlive workloads, so no job will come for them."""

    name = "orphan workloads"
    retry_seconds = 0.0
    grace_seconds = 60.0
    execution: Execution
    listed: list[WorkloadKey] = field(default_factory=list)
    """Those of the last listing that succeeded."""

    async def find(self) -> AsyncGenerator[list[WorkloadKey], None]:
        yield self.listed

    async def remove_one(self, item: WorkloadKey) -> None:
        await self.execution.clean_up(without_row(item), Scope.WORKLOAD)


class Garbage:
    """The garbage of one installation, for as long as one leader leads."""

    def __init__(
        self,
        settings: Settings,
        *,
        data: DataDirectory,
        writer: JobWriter,
        retention: JobRetention,
        runtimes: Mapping[str, Runtime],
        executions: Mapping[str, Execution],
        supervise: Callable[[Job], None],
        is_supervised: Callable[[str], bool],
        check: Check,
    ) -> None:
        """`check` is called before files are deleted, and may forbid it by raising; `runtimes` do so themselves."""
        repository, clock = writer.repository, writer.clock
        able = max(runtimes.values(), key=lambda runtime: runtime.isolated)
        ages = Ages(settings, retention, clock)
        self._deleted_jobs = DeletedJobs(
            data=data,
            retention=retention,
            lease=writer.lease,
            runtimes=runtimes,
            executions=executions,
            is_supervised=is_supervised,
        )
        collectors: list[Collector[Any]] = [
            self._deleted_jobs,
            ExpiredJobs(ages, writer.lease),
            ExpiredUploads(ages, data, check),
            UncleanAttempts(data, repository, supervise),
            InterruptedSubmissions(data.incoming, data, repository, able, clock, seconds=3600.0),
            InterruptedSubmissions(data.jobs, data, repository, able, clock),
            OrphanDirectories(data, repository, able, ages.oldest_job),
        ]
        self._workloads = {name: OrphanWorkloads(execution) for name, execution in executions.items()}
        self._runner = GarbageCollector(collectors, writer.uptime)

    async def run(self) -> None:
        """Collect until cancelled."""
        await self._runner.run()

    def wake(self) -> None:
        """Look for what deleted jobs have left soon."""
        self._runner.wake(self._deleted_jobs)

    def note_supervisor_ended(self) -> None:
        """Look for what deleted jobs have left soon, if something waits for the end of a supervisor."""
        if self._deleted_jobs.awaits_supervisor:
            self.wake()

    async def collect_workloads(self, runtime: str, orphans: list[WorkloadKey]) -> None:
        """Do one round for a runtime that has just listed its workloads, with those that have no row."""
        self._workloads[runtime].listed = orphans
        await self._runner.collect(self._workloads[runtime])
