"""All collectors of one controller, and what wakes them. Those of workloads are defined here.

A deleted job leaves workloads, files and a note that something is left; they are removed in this order. The note is
written in the transaction that deletes the row, so the next leader continues where one died.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ci_common.artifacts.store import ArtifactStore, StoreUnavailable
from ci_common.jobs import Job
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.settings import Settings
from ci_common.system.disk import Disk, sync
from ci_controller.artifacts.ended_logs import EndedLogs
from ci_controller.environments import Environments
from ci_controller.execution.protocol import Execution, Scope, without_row
from ci_controller.gc.artifacts import ExpiredArtifacts, OrphanArtifacts
from ci_controller.gc.caches import ExpiredCaches, OrphanArchives
from ci_controller.gc.directories import InterruptedSubmissions, OrphanDirectories, UncleanAttempts
from ci_controller.gc.environments import EnvironmentDirectories, ExpiredEnvironments, OldDownloads, OrphanEnvironments
from ci_controller.gc.expired_jobs import Ages, ExpiredJobs, ExpiredUploads, OldAudit, OldEvents, OldKeys
from ci_controller.gc.logs import LogsLeftHere, LogsOfEnded
from ci_controller.gc.runner import Collector, GarbageCollector
from ci_controller.gc.spare_workspaces import SpareWorkspaces
from ci_controller.job_writer import JobWriter
from ci_controller.runtime.protocol import Check, LocalRuntime, Runtime, WorkloadKey
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.reports import ReportStore
from ci_persistence.stores.retention import Removal, RetentionStore

BATCH = 100

Workloads = dict[str, list[tuple[Execution, WorkloadKey]]]


@dataclass(eq=False, kw_only=True)
class DeletedJobs(Collector[Removal]):
    """Carries out the removals of one installation."""

    name = "what deleted jobs have left"
    seconds = 60.0
    retry_seconds = 10.0
    data: DataDirectory
    contents: ArtifactStore
    retention: RetentionStore
    reports: ReportStore
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
            for job_id in removed:
                await self.reports.remove(job_id, self.lease)
            await asyncio.to_thread(sync, self.data.jobs)
            await self.retention.forget_removals(removed, self.lease)
        return failed

    async def remove_one(self, item: Removal) -> None:
        if hidden := self._unseen & item.runtimes:
            raise RuntimeUnavailable(f"cannot see the workloads of {', '.join(sorted(hidden))}")
        for execution, key in self._workloads.get(item.job_id, ()):
            await execution.clean_up(without_row(key), Scope.WORKLOAD)
        try:
            await self.contents.remove(item.job_id)
        except StoreUnavailable as exc:
            raise OSError(str(exc)) from exc
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
        contents: ArtifactStore,
        runtimes: Mapping[str, LocalRuntime],
        executions: Mapping[str, Execution],
        environments: Mapping[str, Environments],
        supervise: Callable[[Job], None],
        is_supervised: Callable[[str], bool],
        check: Check,
    ) -> None:
        """`check` is called before files are deleted, and may forbid it by raising; `runtimes` do so themselves."""
        jobs, retention, clock = writer.storage.jobs, writer.storage.retention, writer.clock
        able = max(runtimes.values(), key=lambda runtime: runtime.isolated)
        ages = Ages(settings, retention, clock, writer.storage.projects)
        self._deleted_jobs = DeletedJobs(
            data=data,
            contents=contents,
            retention=retention,
            reports=writer.storage.reports,
            lease=writer.lease,
            runtimes=runtimes,
            executions=executions,
            is_supervised=is_supervised,
        )
        collectors: list[Collector[Any]] = [
            self._deleted_jobs,
            ExpiredJobs(ages, writer.lease),
            ExpiredUploads(ages, data, check),
            OldAudit(ages, writer.storage.audit, writer.lease),
            OldEvents(ages, writer.storage.outbox),
            OldKeys(ages, writer.storage.submissions),
            UncleanAttempts(data, jobs, supervise),
            InterruptedSubmissions(data.incoming, data, jobs, able, clock, seconds=3600.0),
            InterruptedSubmissions(data.jobs, data, jobs, able, clock),
            OrphanDirectories(data, jobs, able, ages.oldest_job),
            ExpiredEnvironments(settings, runtimes, writer.storage.environments, writer.lease),
            OrphanEnvironments(runtimes, writer.storage.environments, environments),
            EnvironmentDirectories(data, able, environments),
            OldDownloads(settings, data, able, environments),
            ExpiredCaches(settings, data, writer.storage.caches, writer.lease),
            OrphanArchives(data, writer.storage.caches, check),
            ExpiredArtifacts(ages, contents, writer.storage.artifacts, writer.lease, check),
            OrphanArtifacts(contents, jobs, ages.oldest_job, check),
            SpareWorkspaces(data, Disk.of(settings), clock, able, check),
        ]
        logs = EndedLogs(data, contents, writer.storage.logs, writer.lease, check)
        self._ended_logs = LogsOfEnded(jobs, logs)
        self._moves_logs = settings.log_store == "artifacts"
        if self._moves_logs:
            collectors += [self._ended_logs, LogsLeftHere(data, jobs, logs)]
        self._workloads = {name: OrphanWorkloads(execution) for name, execution in executions.items()}
        self._runner = GarbageCollector(collectors, writer.uptime)

    async def run(self) -> None:
        """Collect until cancelled."""
        await self._runner.run()

    def wake(self) -> None:
        """Look for what deleted jobs have left soon."""
        self._runner.wake(self._deleted_jobs)

    def note_supervisor_ended(self, key: WorkloadKey) -> None:
        """Look soon for what deleted jobs have left, if something waits for the end of a supervisor; move its log."""
        if self._moves_logs and self._ended_logs.note(key):
            self._runner.wake(self._ended_logs)
        if self._deleted_jobs.awaits_supervisor:
            self.wake()

    async def collect_workloads(self, runtime: str, orphans: list[WorkloadKey]) -> None:
        """Do one round for a runtime that has just listed its workloads, with those that have no row."""
        self._workloads[runtime].listed = orphans
        await self._runner.collect(self._workloads[runtime])
