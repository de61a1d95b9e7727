"""Carries out jobs in containers or processes of this machine: `Execution` on a `Runtime`."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from pydantic import ValidationError

from ci_common.archives.unpack import UnpackLimits
from ci_common.attempts.parts import JobCache
from ci_common.jobs import ACTIVE_STATES, Conclusion, Job, Reason, ReasonCode, State
from ci_common.run_directory.attributes import allow_changes
from ci_common.run_directory.closing import forget_closing
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.masked_log import MaskedLog, masks_of
from ci_common.runtime_faults import ImageFault, RuntimeFault, RuntimeUnavailable, StartFault
from ci_common.secrets.masks import Masked
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Ballast, measure_tree
from ci_common.system.tasks import in_thread
from ci_common.system.watch import FileWatcher
from ci_common.times import Clock
from ci_common.wire.results.record import sealed, step_lines
from ci_controller.artifacts import Artifacts
from ci_controller.caches import Caches
from ci_controller.environments import Environments
from ci_controller.execution.exits import Exits
from ci_controller.execution.files import SHORT_LOG, Observer, collect_files, note_end_of_log, protect_log, write_record
from ci_controller.execution.preparing import Preparer
from ci_controller.execution.protocol import Collected, Scope, Wakeups
from ci_controller.execution.serving import ServiceWatch, keep_logs, services_of
from ci_controller.execution.watching import AttemptWatch, all_damage, usage_of
from ci_controller.policy import Observation, WorkloadPhase, tells_all
from ci_controller.pool import Pool
from ci_controller.reports import Reports
from ci_controller.results.collecting import collect_results, roots_of
from ci_controller.results.resources import use_of
from ci_controller.results.sarif import SarifReports
from ci_controller.run_directory import preparation
from ci_controller.runtime.guarding import guarded
from ci_controller.runtime.protocol import Check, LocalRuntime, WorkloadKey
from ci_controller.secrets.masking import masked_results
from ci_controller.secrets.resolving import Secrets
from ci_persistence.stores.kept.records import RecordStore

log = logging.getLogger(__name__)

LOG_OVERRUN_BYTES = 64 * 1024**2
"""How far past its limit the log of a job that is being stopped may grow before its grace ends."""
OVERRUN_SECONDS = 0.02
"""How often to check that."""
GATE_SECONDS = 1.0
"""How long to hold a gate open for its script, before its caller observes what has become of it."""
ABOUT_SECONDS = 1.0
"""How long the engine may take to say what an attempt ran in; its end does not wait for longer."""
EVENTS_SECONDS = 1.0
"""How long to wait before listening to the engine's events again."""
_RUNS_KEPT = 256


class WorkloadExecution:
    """Container jobs, on one runtime. `run` has to be running while a controller leads."""

    def __init__(
        self,
        settings: Settings,
        runtime: LocalRuntime,
        data: DataDirectory,
        clock: Clock,
        *,
        watcher: FileWatcher,
        check: Check,
        ballast: Ballast,
        pool: Pool | None = None,
        environments: Environments | None = None,
        caches: Caches | None = None,
        reports: Reports | None = None,
        sarif: SarifReports | None = None,
        artifacts: Artifacts | None = None,
        records: RecordStore | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        """`check` is called before every change to a workload or a run directory, and may forbid it by raising.

        `ballast` is the disk space that is reserved for the database. `pool` has the workloads that wait for jobs,
        `environments` what they start from, `caches` what earlier ones have left for them, and `artifacts` keeps what
        these leave, `reports` and `sarif` what they report. `records` has the records of those that have ended,
        `secrets` the values of their secrets.
        """
        self._runtime = guarded(runtime, check)
        self._check = check
        self._data = data
        self._run_of = lru_cache(_RUNS_KEPT)(data.run)
        self._clock = clock
        self._watcher = watcher
        self._observer = Observer(self._runtime, data.path, ballast)
        self._exits = Exits(self._runtime, self._observer, check)
        self._pool = pool
        self._preparer = Preparer(
            self._runtime, data, UnpackLimits.of(settings), check, pool, environments, caches, secrets
        )
        self._environments = environments
        self._caches = caches
        self._reports = reports
        self._sarif = sarif
        self._artifacts = artifacts
        self._records = records
        self._keeper = None if secrets is None else secrets.keeper
        self._measuring = asyncio.Lock()
        self._watches: dict[WorkloadKey, AttemptWatch] = {}
        self.runtime_name = runtime.name

    async def run(self) -> None:
        """Keep the pool filled and pass on what the engine tells, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._pool is not None:
                tasks.create_task(self._pool.run(), name="pool")
            if self._environments is not None:
                tasks.create_task(self._environments.run(), name="environments")
            tasks.create_task(self._follow_engine(), name=f"events of {self.runtime_name}")

    async def close(self) -> None:
        """Remove what waits for jobs, within a bounded time. Jobs go on."""
        if self._pool is not None:
            await self._pool.close()

    async def _follow_engine(self) -> None:
        while True:
            try:
                async for key in self._runtime.events():
                    owner = key if self._pool is None else self._pool.heard_of(key)
                    if owner is not None and owner in self._watches:
                        self._watches[owner].wake()
            except RuntimeUnavailable:
                pass  # `list` says so; here only wake-ups are missing.
            except OSError as exc:
                log.warning("events of %s cannot be heard at present: %s", self.runtime_name, exc)
            await asyncio.sleep(EVENTS_SECONDS)

    @asynccontextmanager
    async def events(self, job: Job) -> AsyncIterator[Wakeups]:
        key = WorkloadKey.of(job)
        watch = self._watches[key] = AttemptWatch(
            self._run(job),
            watcher=self._watcher,
            clock=self._clock,
            measuring=self._measuring,
            check=self._check,
            measure=lambda: self._runtime.sample(self._workload(job)),
        )
        try:
            yield watch
        finally:
            await watch.close()
            del self._watches[key]
            self._exits.end(key)
            self._note_started(key)

    # Up to the job's own code.

    async def prepare(self, job: Job) -> None:
        await self._preparer.prepare(job, self._run(job), self._workload(job))

    async def start(self, job: Job) -> None:
        await self._runtime.start(self._workload(job))

    async def release_gate(self, job: Job) -> bool:
        run = self._run(job)
        if (watch := self._watches.get(WorkloadKey.of(job))) is not None:
            watch.follow(job)
        if run.is_started():
            return False
        self._check()
        protect_log(run)
        with preparation.opened_gate(run):
            delay = 0.0005  # The script needs less to make its mark than an inotify watch costs.
            while not run.is_started() and delay < GATE_SECONDS:
                await asyncio.sleep(delay)
                delay *= 2
        self._note_started(WorkloadKey.of(job))
        return run.is_started()

    def _note_started(self, key: WorkloadKey) -> None:
        if self._pool is not None:
            self._pool.note_started(key)

    # What is to be seen.

    async def observe(self, job: Job, *, measure: bool = False) -> Observation:
        key, run = WorkloadKey.of(job), self._run(job)
        watch = self._watches.get(key)
        if watch is not None:
            watch.follow(job)
        seen = await self._observer.observe(job, run, self._workload(job), has_claim=self._has_claim(job))
        if seen.exit is not None and not tells_all(seen.exit) and seen.phase is WorkloadPhase.RUNNING:
            self._exits.allow(key, run)  # The engine's word is needed, too, and comes after the exit.
        else:
            self._exits.end(key)
        if services_of(job):
            seen = await self._with_services(job, seen)
        usage = usage_of(run, watch, started=seen.started)
        if measure:
            usage = replace(usage, disk_bytes=await measure_tree(run.path, enough=sys.maxsize))
        return replace(seen, usage=usage, log_damage=all_damage(seen, watch))

    async def _with_services(self, job: Job, seen: Observation) -> Observation:
        """Add what is to be seen of the job's services. The engine is asked only where the next step depends on it."""
        key, run, workload = WorkloadKey.of(job), self._run(job), self._workload(job)
        if job.state is State.COMPLETED:
            return replace(seen, cleaned=seen.cleaned and not await self._runtime.has_services(workload))
        watch, had_waited = self._watches.get(key), workload != key
        if watch is not None and run.is_prepared() and seen.phase is not WorkloadPhase.ABSENT:
            if watch.services is None:
                watch.services = ServiceWatch(
                    self._runtime,
                    job,
                    run,
                    wake=watch.wake,
                    check=self._check,
                    masks=partial(self._masks_of, job, run),
                )
            watch.services.begin(workload, are_ready=had_waited or job.state is State.RUNNING)
        if job.state is State.STARTING:
            fault = watch and watch.services and watch.services.fault
            are_ready = had_waited or (watch and watch.services and watch.services.are_ready)
            return replace(
                seen,
                awaited_services=() if are_ready else tuple(services_of(job)),
                service_fault=Reason(fault.reason_code, str(fault)) if fault else None,
            )
        if seen.exit is not None and seen.exit.code == 0:
            return seen
        failed = await self._runtime.failed_service(workload)
        if failed is None:
            return seen
        masks = self._masks_of(job, run)
        message = failed if masks is None else masks.text(failed)
        return replace(seen, service_fault=Reason(ReasonCode.SERVICE_FAILED, message))

    def _masks_of(self, job: Job, run: RunDirectory) -> Masked | None:
        return None if self._keeper is None else masks_of(job, run, self._keeper)

    # Its end.

    async def stop(self, job: Job, grace: float) -> None:
        own = _plan(job).stop_grace
        ending_grace = asyncio.create_task(self._end_grace_of_a_flood(job))
        try:
            with self._exits.allowed(self._run(job)):
                await self._runtime.stop(self._workload(job), grace if own is None else own, self._run(job))
        finally:
            ending_grace.cancel()
            await asyncio.gather(ending_grace, return_exceptions=True)

    async def _end_grace_of_a_flood(self, job: Job) -> None:
        """Kill a job that uses its grace to write far more into its log than it may."""
        limit = _plan(job).limits.log
        while limit is not None:
            if self._run(job).log_size() > limit + LOG_OVERRUN_BYTES:
                await self._runtime.stop(self._workload(job), 0, self._run(job))
                break
            await asyncio.sleep(OVERRUN_SECONDS)

    async def collect(self, job: Job, conclusion: Conclusion | None = None) -> Collected:
        self._check()
        if (watch := self._watches.get(WorkloadKey.of(job))) is not None and watch.usage is not None:
            try:
                watch.usage.guard.restore()
            except OSError as exc:
                log.warning("job %s: the log that it removed cannot be put back: %s", job.id, exc)
            watch.stop_following()
        if services_of(job) and job.state in ACTIVE_STATES:
            run = self._run(job)
            masks = self._masks_of(job, run)
            await keep_logs(self._runtime, self._workload(job), services_of(job), run, self._check, masks)
        self._note_started(WorkloadKey.of(job))
        if self._pool is not None:
            self._pool.note_ended(WorkloadKey.of(job))
        left, log_read = await collect_files(job, self._data, self._keeper)
        await asyncio.sleep(0)  # Each part takes a millisecond or two, between which the event loop does other work.
        base = self._base_of(job, self._run(job))
        left = await self._with_results(job, left, base, log_read)
        await asyncio.sleep(0)
        if self._artifacts is not None and conclusion is not None and job.state in ACTIVE_STATES:
            kept = await self._artifacts.collect(job, self._run(job), conclusion, log_read.text)
            left = replace(left, artifacts=kept)
        if self._environments is not None and job.state is State.RUNNING:
            verified = await self._environments.verify(job, _plan(job), self._workload(job), self._run(job))
            left = replace(left, result=verified)
        if self._reports is not None and job.state is State.RUNNING:
            left = replace(left, tests=await self._reports.collect(job, self._run(job), base, log_read))
        return left if self._caches is None else replace(left, caches=self._caches.collect(self._run(job)))

    async def _with_results(self, job: Job, left: Collected, base: Path, log_read: MaskedLog) -> Collected:
        """Add what the attempt said, used and ran in. The engine is asked only where it answers within a moment."""
        if job.start_time is None:
            return left
        run, workload, watch = self._run(job), self._workload(job), self._watches.get(WorkloadKey.of(job))
        reported = () if self._sarif is None else await self._sarif.collect(job, run, roots_of(job, run, base))
        collecting = partial(collect_results, job, run, log_bytes=left.log_bytes, base=base, reported=reported)
        results = collecting() if left.log_bytes <= SHORT_LOG else await asyncio.to_thread(collecting)
        final, image = None, None
        with suppress(RuntimeUnavailable, RuntimeFault, TimeoutError):
            async with asyncio.timeout(ABOUT_SECONDS):
                final, image = await self._runtime.final_use(workload), await self._runtime.image_of(workload)
        ended, resources = run.read_exit(), None if watch is None else watch.resources
        use = use_of({} if ended is None else ended.use, final, () if resources is None else resources.samples)
        return replace(left, results=masked_results(results, log_read), resources=use, used_image=image)

    def _base_of(self, job: Job, run: RunDirectory) -> Path:
        """Return the run directory as the job sees it. A job whose plan cannot be read ends, too."""
        try:
            return self._runtime.describe(_plan(job), run).base
        except ValidationError:
            return run.path

    async def clean_up(self, job: Job, scope: Scope = Scope.ALL) -> tuple[JobCache, ...] | None:
        key, run = WorkloadKey.of(job), self._run(job)
        if scope is Scope.WORKSPACE:
            await self._remove_workspace(job, run)
            return None
        if self._pool is not None and self._pool.has_claim(key) and self._pool.workload_of(key) is None:
            await self._pool.release(key)  # It was claimed, and never taken into use.
        watch = self._watches.get(key)
        heard = asyncio.Event() if watch is None else watch.heard
        if scope is Scope.ALL and not await self._exits.has_gone(job, run, self._workload(job), heard):
            await self._runtime.stop(self._workload(job), 0, run)  # As one that was cancelled at its gate.
        # Anything that the job left running can replace its files while they are removed. Once the engine says that the
        # workload is gone, nothing can.
        try:
            if watch is not None and watch.services is not None:
                await watch.services.close()
            await self._runtime.remove(self._workload(job))
            self._exits.end(key)
            if self._pool is not None:
                self._pool.forget(key)
            caches = None
            if scope is Scope.ALL:
                caches = None if self._caches is None else await self._caches.save(job, run)
                if self._artifacts is not None:
                    await self._artifacts.tidy(job, run)
                await self._remove_files(job, run)
            return caches
        except (OSError, ImageFault, StartFault):
            await self._runtime.remove(self._workload(job), only_exited=True)
            raise

    async def _remove_files(self, job: Job, run: RunDirectory) -> None:
        self._check()
        kept = None if self._records is None else await self._records.get(job.id, job.attempt)
        record, steps = sealed(job)[0] if kept is None else kept.document, step_lines(job)
        is_recorded, left = await in_thread(self._clear_files, job, run, record, steps)
        for entry in left:
            await self._runtime.delete_tree(entry)
        if not is_recorded:
            await in_thread(write_record, run, record, steps)

    def _clear_files(self, job: Job, run: RunDirectory, record: str, steps: str) -> tuple[bool, Collection[Path]]:
        """Record the attempt and remove its files; return whether it is recorded, and what is left to remove."""
        note_end_of_log(job, self._data)
        allow_changes(run.log)
        forget_closing(run, job.log_bytes or 0)
        run.masks.unlink(missing_ok=True)  # The log is masked in its file.
        return write_record(run, record, steps), preparation.clear(run)

    async def _remove_workspace(self, job: Job, run: RunDirectory) -> None:
        with self._exits.allowed(run):
            await self._runtime.stop(self._workload(job), 0, run)
        self._check()
        if preparation.has_workspace(run):
            await self._runtime.delete_tree(run.workspace)

    async def list(self) -> Collection[WorkloadKey]:
        listed = await self._runtime.list_workloads()
        return [each.key for each in listed] if self._pool is None else await self._pool.adopt(listed)

    def _run(self, job: Job) -> RunDirectory:
        return self._run_of(job.id, job.attempt)

    def _workload(self, job: Job) -> WorkloadKey:
        """Return what the attempt runs in: a workload made for it, or one that had waited for a job."""
        return (self._pool and self._pool.workload_of(WorkloadKey.of(job))) or WorkloadKey.of(job)

    def _has_claim(self, job: Job) -> bool:
        return self._pool is not None and self._pool.has_claim(WorkloadKey.of(job))


def _plan(job: Job) -> ExecutionPlan:
    """Return what the job is to do. Raises ValidationError for a row without a valid plan."""
    return ExecutionPlan.model_validate(job.plan)
