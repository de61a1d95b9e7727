"""The outer loop: one controller that leads looks at everything, again and again, and sees that each job has a driver.

Whatever happens only wakes the loop; what to do follows from what it then sees. Wake-ups make it read the database;
the engines are asked beside it, at intervals, so that one that hangs holds up nothing else.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from datetime import timedelta

from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import CiError, RuntimeUnavailable
from ci_common.job_types import is_computed
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Ballast, Disk
from ci_common.system.watch import FileWatcher
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.execution.protocol import Execution
from ci_controller.execution.workload_execution import WorkloadExecution
from ci_controller.gc.collectors import Garbage
from ci_controller.job_writer import JobWriter
from ci_controller.leadership import Leadership
from ci_controller.policy.retry import Chance
from ci_controller.pool import Handover, Pool
from ci_controller.runtime.guarded import GuardedRuntime
from ci_controller.runtime.protocol import WAITING, Runtime, Sighting
from ci_controller.scheduling.disk_pressure import Scarcity
from ci_controller.scheduling.images import Images
from ci_controller.scheduling.profiles import Kinds
from ci_controller.scheduling.scheduler import Scheduler
from ci_controller.supervision.supervisors import Supervisors
from ci_persistence.retention import JobRetention

log = logging.getLogger(__name__)

IDLE_STEPS = 8
"""How many times longer looks may be apart while there is no job: what happens wakes the loop all the same."""
RETRY_EVENTS_SECONDS = 1.0
SHORT_LOOK_SECONDS = 0.005
LOOK_LOAD = 3
"""Looks at the jobs that keep this thread busy for longer than short ones do so for at most one part in this many, and
one, of the time."""


class Reconciler:
    """One term of leadership: from the first look, which is the crash recovery, until it is cancelled."""

    def __init__(
        self,
        *,
        settings: Settings,
        writer: JobWriter,
        retention: JobRetention,
        runtimes: Mapping[str, Runtime],
        chosen: str,
        data: DataDirectory,
        watcher: FileWatcher,
        leadership: Leadership,
        chance: Chance,
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._runtimes = {name: GuardedRuntime(runtime, leadership.check) for name, runtime in runtimes.items()}
        self._watcher = watcher
        self._wakeups = watcher.subscribe()
        self._supervisors = Supervisors(
            settings,
            writer=writer,
            watcher=watcher,
            chance=chance,
            execution_of=self._execution_of,
            lost_leadership=leadership.ended.set,
            one_ended=self._note_supervisor_ended,
        )
        self._builtin = BuiltinExecution(writer.clock, writer.uptime)
        limits, check, ballast = UnpackLimits.of(settings), leadership.check, Ballast(settings.db_path.absolute())
        self._executions = {
            name: WorkloadExecution(runtime, data, writer.clock, limits=limits, check=check, ballast=ballast)
            for name, runtime in runtimes.items()
        }
        self._chosen = chosen
        self._images = Images(runtimes[chosen], self.wake)
        self._pool = Pool(
            settings, runtime=self._runtimes[chosen], data=data, writer=writer, watcher=watcher, check=leadership.check
        )
        self._handover = Handover(self._pool, writer)
        self._kinds = Kinds(self._pool.kind_of)
        slots, disk = settings.max_concurrency, Disk.of(settings)
        self._scheduler = Scheduler(writer, self._images, self._execution_of, slots, disk, self._pool, self._kinds)
        self._garbage = Garbage(
            settings,
            data=data,
            writer=writer,
            retention=retention,
            runtimes=self._runtimes,
            supervise=self._supervisors.supervise,
            is_supervised=self._supervisors.hurry,
            check=leadership.check,
        )
        self._scarcity = Scarcity(data, ballast, self._supervisors.end_greediest)
        self._busy = asyncio.Event()
        """Set while there are jobs to be driven."""
        self._some_wait = False
        """Whether jobs are left in the queue, as far as the last look has come."""
        self._idle_pause = settings.reconcile_interval * IDLE_STEPS
        self._has_sorted = False

    def wake(self) -> None:
        """Make the loop look again soon."""
        self._wakeups.wake()

    def _wake_all(self) -> None:
        self.wake()
        self._garbage.wake()

    def _note_supervisor_ended(self, is_over: bool) -> None:
        self._garbage.note_supervisor_ended()
        if not is_over or not self._supervisors:
            self.wake()

    async def run(self) -> None:
        """Reconcile until cancelled. An eternal task that fails ends this, by its exception."""
        try:
            async with asyncio.TaskGroup() as eternal:
                eternal.create_task(self._follow_database(), name="database changes")
                eternal.create_task(self._garbage.run(), name="garbage collection")
                eternal.create_task(self._pool.run(), name="pool")
                eternal.create_task(self._scarcity.run(), name="scarcity")
                for runtime in self._runtimes.values():
                    eternal.create_task(self._follow_workloads(runtime), name=f"workloads of {runtime.name}")
                    eternal.create_task(self._follow_events(runtime), name=f"events of {runtime.name}")
                await self._follow_jobs()
        finally:
            self._wakeups.close()
            await self._images.close()
            await self._supervisors.dismiss()
            await self._handover.close()

    async def _follow_jobs(self) -> None:
        while True:
            begun = time.thread_time()
            pause = self._settings.reconcile_interval
            try:
                backing_off = await self._look_at_jobs()
                pause = min(pause if self._busy.is_set() else self._idle_pause, backing_off)
            except (CiError, OSError) as exc:
                log.warning("this look at the jobs is skipped: %s", exc)
                await asyncio.sleep(min(1.0, self._settings.reconcile_interval))
            # A look at a long queue takes a while, and every submission asks for one. Waiting for others takes nothing.
            await asyncio.sleep(LOOK_LOAD * max(0.0, time.thread_time() - begun - SHORT_LOOK_SECONDS))
            await self._wakeups.wait(pause)

    async def _follow_workloads(self, runtime: Runtime) -> None:
        while True:
            try:
                await self._look_at_workloads(runtime)
            except RuntimeUnavailable as exc:
                await self._reconnect(runtime, exc)
            except (CiError, OSError) as exc:
                log.warning("this look at the workloads of %s is skipped: %s", runtime.name, exc)
            # What a job that comes needs of the engine is not to wait for this.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_pause):
                    await self._busy.wait()
            await asyncio.sleep(self._settings.reconcile_interval)

    async def _look_at_workloads(self, runtime: Runtime) -> None:
        """Containers first, then rows: a row outlives its containers, so what is listed has a row or is an orphan."""
        sightings, orphans = await self._with_owner(runtime, await runtime.list_workloads())
        rows = await self._writer.repository.get_many({s.key.job_id for s in sightings})
        for sighting in sightings:
            job = rows.get(sighting.key.job_id)
            if job is None:
                orphans.append(sighting)
            elif sighting.key.attempt <= job.attempt:
                self._supervisors.supervise(job.as_of(sighting.key.attempt))
            elif job.state is State.COMPLETED:  # By an older copy of the database, which knows of no such attempt.
                orphans.append(sighting)
        await self._garbage.collect_workloads(runtime.name, [orphan.key for orphan in orphans])

    async def _with_owner(self, runtime: Runtime, found: list[Sighting]) -> tuple[list[Sighting], list[Sighting]]:
        """Return the workloads that were created for jobs, and those that nobody can have; see to the others."""
        waiting = [sighting for sighting in found if sighting.key.attempt == WAITING]
        if runtime.name != self._chosen:
            return [sighting for sighting in found if sighting not in waiting], waiting
        held, strangers = await self._handover.sort(waiting)
        for job in held:
            self._supervisors.supervise(job)
        if not self._has_sorted:
            self._has_sorted = await self._handover.sweep()
        return [sighting for sighting in found if sighting.key.attempt != WAITING], strangers

    async def _reconnect(self, runtime: Runtime, exc: RuntimeUnavailable) -> None:
        """Try to reach an engine again that new jobs or running ones need."""
        if runtime.name != self._chosen and not self._supervisors.use(runtime.name):
            return
        log.warning("cannot see the workloads of %s: %s", runtime.name, exc)
        try:
            await runtime.ping()
        except RuntimeUnavailable:
            try:
                await runtime.open()
            except RuntimeUnavailable:
                return
        self.wake()

    async def _look_at_jobs(self) -> float:
        """Return in how many seconds at most to look again because of a job that backs off."""
        active, queued = await self._writer.repository.unfinished()
        for job in active:
            self._supervisors.supervise(job)
            self._supervisors.wake_if_cancelled(job)
        if active or queued or self._supervisors:
            self._busy.set()
        else:
            self._busy.clear()
        self._some_wait = bool(queued)  # A slot that becomes free during the turn is seen by the next one.
        started = await self._scheduler.turn(queued, len(active))
        self._some_wait = len(queued) > len(started)
        for job in started:
            self._supervisors.supervise(job)
        now = self._writer.clock()
        self._pool.note_load(busy=any(job.state is State.STARTING for job in (*active, *started)))
        waits = (job.not_before - now for job in queued if job.not_before is not None and job.not_before > now)
        return min(waits, default=timedelta.max).total_seconds()

    def _execution_of(self, job: Job) -> Execution:
        if is_computed(job.type):
            return self._builtin
        return self._executions.get(job.runtime or self._chosen, self._executions[self._chosen])

    async def _follow_database(self) -> None:
        while True:
            try:
                async with aclosing(self._writer.repository.changes(self._wake_for)) as changes:
                    async for _ in changes:
                        self._wake_all()
            except (CiError, OSError) as exc:
                log.warning("changes of the database cannot be seen at present: %s", exc)
            await asyncio.sleep(RETRY_EVENTS_SECONDS)

    def _wake_for(self, job: Job) -> None:
        """Look at once at what people ask for, and where a slot is free. What else the controller writes it knows."""
        if job.state is State.QUEUED and job.not_before is None and not self._some_wait:
            self._ask_ahead(job)
        gives_slot = job.state is State.COMPLETED and self._some_wait
        if gives_slot or job.state is State.QUEUED or job.cancel_requested_time is not None:
            self.wake()

    def _ask_ahead(self, job: Job) -> None:
        """Ask the engine, while the queue is read, what the start of the job will have to wait for."""
        if self._settings.pool_size:
            self._kinds.expect(job)
        elif job.image is not None:
            self._images.expect(job.image)

    async def _follow_events(self, runtime: Runtime) -> None:
        while True:
            try:
                async for key in runtime.events():
                    if key.attempt == WAITING:
                        self._pool.lost(key.job_id)
                    self._supervisors.wake(key)
            except RuntimeUnavailable:
                pass  # The loop says so; here only the wake-ups are missing.
            except OSError as exc:
                log.warning("events of %s cannot be heard at present: %s", runtime.name, exc)
            await asyncio.sleep(RETRY_EVENTS_SECONDS)
