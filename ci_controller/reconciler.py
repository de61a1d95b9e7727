"""The outer loop: the controller that leads looks at all jobs, again and again, and gives each a supervisor.

Events only wake the loop; what to do follows from what it then sees. Wake-ups make it read the database; the engines
are asked beside it, at intervals, so that one that hangs holds up nothing else.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from datetime import timedelta

from ci_common.artifacts import open_store
from ci_common.attempts.parts import JobEnvironment
from ci_common.errors import CiError
from ci_common.job_types import is_computed
from ci_common.jobs import Job, Reason, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.secrets.ring import KeyRing
from ci_common.secrets.sealing import MaskKeeper
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Ballast, Disk
from ci_common.system.watch import FileWatcher
from ci_controller.artifacts import Artifacts
from ci_controller.caches import Caches
from ci_controller.environments import Environments
from ci_controller.execution.builtin import BuiltinExecution
from ci_controller.execution.protocol import Execution
from ci_controller.execution.workloads import WorkloadExecution
from ci_controller.gc.collectors import Garbage
from ci_controller.images import Images
from ci_controller.job_writer import JobWriter
from ci_controller.leadership import Leadership
from ci_controller.plan import Jitter
from ci_controller.pool import Pool
from ci_controller.reports import Reports
from ci_controller.results.sarif import SarifReports
from ci_controller.runtime.guarding import guarded
from ci_controller.runtime.protocol import LocalRuntime, WorkloadKey
from ci_controller.scheduler import Scheduler
from ci_controller.secrets.resolving import Secrets
from ci_controller.supervision.supervisors import Scarcity, Supervisors
from ci_controller.turns import MOST_SHARES, share_of

log = logging.getLogger(__name__)

IDLE_STEPS = 8
"""How many times longer the intervals are while there is no job: events wake the loop all the same."""
RETRY_EVENTS_SECONDS = 1.0
SHORT_LOOK_SECONDS = 0.005
"""Looks that use less CPU than this are followed by no sleep."""
LOOK_LOAD = 3
"""After a look that used t seconds of CPU, sleep LOOK_LOAD * t: looks take at most a quarter of one CPU."""


class Reconciler:
    """One term of leadership: from the first look, which is the crash recovery, until it is cancelled."""

    def __init__(
        self,
        *,
        settings: Settings,
        writer: JobWriter,
        runtimes: Mapping[str, LocalRuntime],
        chosen: str,
        data: DataDirectory,
        watcher: FileWatcher,
        leadership: Leadership,
        jitter: Jitter,
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._chosen = chosen
        self._wakeups = watcher.subscribe()
        check, ballast = leadership.check, Ballast.of(settings)
        self._runtimes = {name: guarded(runtime, check) for name, runtime in runtimes.items()}
        self._builtin = BuiltinExecution(writer.clock, writer.uptime)
        self._pools = {
            name: Pool(
                settings,
                runtime=runtime,
                data=data,
                writer=writer,
                watcher=watcher,
                check=check,
                is_filled=name == chosen,
            )
            for name, runtime in self._runtimes.items()
            if runtime.can_wait
        }
        self._environments = {
            name: Environments(
                settings,
                runtime=runtime,
                data=data,
                writer=writer,
                pool=self._pools.get(name),
                on_change=self.wake,
            )
            for name, runtime in self._runtimes.items()
        }
        caches = Caches(settings, data=data, writer=writer, check=check)
        self._reports = Reports(settings, data=data, writer=writer)
        self._sarif = SarifReports(settings)
        contents = open_store(settings, data)
        artifacts = Artifacts(settings, store=contents, clock=writer.clock, check=check)
        secrets = Secrets(settings, writer.storage.secrets, MaskKeeper(KeyRing(settings.keyring_path)))
        self._executions = {
            name: WorkloadExecution(
                settings,
                runtime,
                data,
                writer.clock,
                watcher=watcher,
                check=check,
                ballast=ballast,
                pool=self._pools.get(name),
                environments=self._environments[name],
                caches=caches,
                reports=self._reports,
                sarif=self._sarif,
                artifacts=artifacts,
                records=writer.storage.records,
                secrets=secrets,
            )
            for name, runtime in self._runtimes.items()
        }
        self._supervisors = Supervisors(
            settings,
            writer=writer,
            jitter=jitter,
            execution_of=self._execution_of,
            lost_leadership=leadership.ended.set,
            one_ended=self._note_supervisor_ended,
        )
        self._images = Images(runtimes[chosen], self.wake)
        self._scheduler = Scheduler(
            settings,
            writer,
            self._images,
            self._execution_of,
            Disk.of(settings),
            environment_of=self._environment_of,
        )
        self._garbage = Garbage(
            settings,
            data=data,
            writer=writer,
            contents=contents,
            runtimes=self._runtimes,
            executions=self._executions,
            environments=self._environments,
            supervise=self._supervisors.supervise,
            is_supervised=self._supervisors.hurry,
            check=check,
        )
        self._scarcity = Scarcity(data, ballast, self._supervisors.end_greediest)
        self._has_begun: set[str] = set()
        """The runtimes that know that a term has begun."""
        self._busy = asyncio.Event()
        """Set while there are jobs to be driven."""
        self._some_wait = False
        """Whether jobs are left in the queue, as far as the last look has come."""
        self._idle_pause = settings.reconcile_interval * IDLE_STEPS

    def wake(self) -> None:
        """Make the loop look again soon."""
        self._wakeups.wake()

    def _wake_all(self) -> None:
        self.wake()
        self._garbage.wake()

    def _note_supervisor_ended(self, key: WorkloadKey, is_over: bool) -> None:
        self._garbage.note_supervisor_ended(key)
        if not is_over or not self._supervisors:
            self.wake()

    async def run(self) -> None:
        """Reconcile until cancelled. An eternal task that fails ends this, by its exception."""
        try:
            async with asyncio.TaskGroup() as eternal:
                # First, so that each runtime begins its term before anything else is asked of it.
                for name, execution in self._executions.items():
                    eternal.create_task(self._follow_workloads(name), name=f"workloads of {name}")
                    eternal.create_task(execution.run(), name=f"execution on {name}")
                eternal.create_task(self._follow_database(), name="database changes")
                eternal.create_task(self._garbage.run(), name="garbage collection")
                eternal.create_task(self._scarcity.run(), name="scarcity")
                eternal.create_task(self._follow_jobs(), name="jobs")
        finally:
            self._wakeups.close()
            await self._images.close()
            await self._supervisors.close()
            await asyncio.gather(*(execution.close() for execution in self._executions.values()))
            await self._reports.close()
            await self._sarif.close()

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

    async def _follow_workloads(self, name: str) -> None:
        while True:
            try:
                await self._look_at_workloads(name)
            except RuntimeUnavailable as exc:
                await self._reconnect(name, exc)
            except (CiError, OSError) as exc:
                log.warning("this look at the workloads of %s is skipped: %s", name, exc)
            # A job that comes needs the engine for itself first.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_pause):
                    await self._busy.wait()
            await asyncio.sleep(self._settings.reconcile_interval)

    async def _look_at_workloads(self, name: str) -> None:
        """Containers first, then rows: a row outlives its containers, so what is listed has a row or is an orphan."""
        if name not in self._has_begun:
            await self._runtimes[name].begin_term()
            self._has_begun.add(name)
        listed, orphans = await self._executions[name].list(), []
        rows = await self._writer.storage.jobs.get_many({key.job_id for key in listed})
        for key in listed:
            job = rows.get(key.job_id)
            if job is None:
                orphans.append(key)
            elif key.attempt <= job.attempt:
                self._supervisors.supervise(job.as_of(key.attempt))
            elif job.state is State.COMPLETED:  # An older copy of the database knows of no such attempt.
                orphans.append(key)
        await self._garbage.collect_workloads(name, orphans)

    async def _reconnect(self, name: str, exc: RuntimeUnavailable) -> None:
        """Try to reach an engine again that new jobs or running ones need."""
        if name != self._chosen and not self._supervisors.use(name):
            return
        log.warning("cannot see the workloads of %s: %s", name, exc)
        with suppress(RuntimeUnavailable):
            await self._runtimes[name].open()
            self.wake()

    async def _look_at_jobs(self) -> float:
        """Return in how many seconds at most to look again because of a job that backs off."""
        queue, turns = self._writer.storage.queue, self._scheduler.turns
        if not turns.are_known:
            turns.remember(share_of(*taken) for taken in await queue.latest_turns(limit=MOST_SHARES))
        active, queued = await queue.unfinished()
        for job in active:
            self._supervisors.supervise(job)
            self._supervisors.wake_if_cancelled(job)
        if active or queued or self._supervisors:
            self._busy.set()
        else:
            self._busy.clear()
        self._some_wait = bool(queued)  # A slot that becomes free during the turn is seen by the next one.
        started = await self._scheduler.turn(queued, active)
        self._some_wait = len(queued) > len(started)
        for job in started:
            self._supervisors.supervise(job)
        now = self._writer.clock()
        waits = (job.not_before - now for job in queued if job.not_before is not None and job.not_before > now)
        return min(waits, default=timedelta.max).total_seconds()

    def _execution_of(self, job: Job) -> Execution:
        if is_computed(job.type):
            return self._builtin
        return self._executions.get(job.runtime or self._chosen, self._executions[self._chosen])

    async def _environment_of(self, job: Job) -> JobEnvironment | Reason | None:
        if job.plan is None:
            return None
        return await self._environments[self._chosen].choose(job, ExecutionPlan.model_validate(job.plan))

    async def _follow_database(self) -> None:
        while True:
            try:
                async with aclosing(self._writer.storage.jobs.changes(self._wake_for)) as changes:
                    async for _ in changes:
                        self._wake_all()
            except (CiError, OSError) as exc:
                log.warning("changes of the database cannot be seen at present: %s", exc)
            await asyncio.sleep(RETRY_EVENTS_SECONDS)

    def _wake_for(self, job: Job) -> None:
        """Look at once for what users ask for, and when a slot becomes free; other writes are the controller's own."""
        if job.state is State.QUEUED and job.not_before is None and not self._some_wait and job.image is not None:
            self._images.expect(job.image)  # The engine answers while the queue is read.
        gives_slot = job.state is State.COMPLETED and self._some_wait
        if gives_slot or job.state is State.QUEUED or job.cancel_requested_time is not None:
            self.wake()
