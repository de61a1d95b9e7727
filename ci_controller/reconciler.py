"""The outer loop: one controller that leads looks at everything, again and again, and sees that each job has a driver.

Whatever happens only wakes the loop; what to do follows from what it then sees. Wake-ups make it read the database;
the engines are asked beside it, at intervals, so that one that hangs holds up nothing else.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing

from ci_common.errors import CiError, JobNotFound, LeadershipLost, RuntimeUnavailable
from ci_common.jobs import BUILTIN_TYPES, Job
from ci_common.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.watch import FileWatcher
from ci_controller.builtin import BuiltinExecution
from ci_controller.completion import Writer
from ci_controller.execution import Execution, WorkloadExecution
from ci_controller.images import Images
from ci_controller.janitor import Janitor
from ci_controller.leadership import Leadership
from ci_controller.runtime.guarded import GuardedRuntime
from ci_controller.runtime.protocol import Runtime, Sighting
from ci_controller.scheduler import Scheduler
from ci_controller.supervisor import Supervisor

log = logging.getLogger(__name__)

DIRECTORY_SWEEP_SECONDS = 3600.0
RETRY_EVENTS_SECONDS = 1.0
CLEARING_SECONDS = 3.0
"""How long a controller that leaves still clears what completed jobs left."""


class Reconciler:
    """One term of leadership: from the first look, which is the crash recovery, until it is cancelled."""

    def __init__(
        self,
        *,
        settings: Settings,
        writer: Writer,
        runtimes: Mapping[str, Runtime],
        chosen: str,
        data: DataDirectory,
        watcher: FileWatcher,
        leadership: Leadership,
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._runtimes = {name: GuardedRuntime(runtime, leadership.check) for name, runtime in runtimes.items()}
        self._leadership = leadership
        self._data = data
        self._watcher = watcher
        self._wakeups = watcher.subscribe()
        self._supervisors: dict[str, Supervisor] = {}
        self._seen_cancels: dict[str, bool] = {}
        self._builtin = BuiltinExecution(writer.clock, writer.uptime)
        self._executions = {
            name: WorkloadExecution(runtime, data, writer.clock, leadership.check) for name, runtime in runtimes.items()
        }
        self._chosen = chosen
        self._images = Images(runtimes[chosen], self.wake)
        self._scheduler = Scheduler(writer, self._images, self._execution_of, settings.max_concurrency)
        self._janitor = Janitor(data, writer, self._supervise)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tidied: set[str] = set()

    def wake(self) -> None:
        """Make the loop look again soon."""
        self._wakeups.wake()

    async def run(self) -> None:
        """Reconcile until cancelled. An eternal task that fails ends this, by its exception."""
        try:
            async with asyncio.TaskGroup() as eternal:
                eternal.create_task(self._follow_database(), name="database changes")
                eternal.create_task(self._sweep_directories(), name="directory sweep")
                for runtime in self._runtimes.values():
                    eternal.create_task(self._follow_workloads(runtime), name=f"workloads of {runtime.name}")
                    eternal.create_task(self._follow_events(runtime), name=f"events of {runtime.name}")
                await self._follow_jobs()
        finally:
            self._wakeups.close()
            await self._images.close()
            await self._dismiss_supervisors()

    async def _follow_jobs(self) -> None:
        while True:
            try:
                await self._look_at_jobs()
            except (CiError, OSError) as exc:
                log.warning("this look at the jobs is skipped: %s", exc)
                await asyncio.sleep(min(1.0, self._settings.reconcile_interval))
            await self._wakeups.wait(self._settings.reconcile_interval)

    async def _follow_workloads(self, runtime: Runtime) -> None:
        while True:
            try:
                await self._look_at_workloads(runtime)
            except RuntimeUnavailable as exc:
                await self._reconnect(runtime, exc)
            except (CiError, OSError) as exc:
                log.warning("this look at the workloads of %s is skipped: %s", runtime.name, exc)
            await asyncio.sleep(self._settings.reconcile_interval)

    async def _look_at_workloads(self, runtime: Runtime) -> None:
        """Containers first, then rows: a row outlives its containers, so what is listed has a row or is an orphan."""
        if runtime.name not in self._tidied:
            await runtime.tidy()
            self._tidied.add(runtime.name)
        sightings = await runtime.list_workloads()
        rows = await self._writer.repository.get_many({s.key.job_id for s in sightings})
        orphans: list[Sighting] = []
        for sighting in sightings:
            job = rows.get(sighting.key.job_id)
            if job is None:
                orphans.append(sighting)
            else:
                self._supervise(job)
        await self._janitor.sweep_orphans(runtime, orphans)

    async def _reconnect(self, runtime: Runtime, exc: RuntimeUnavailable) -> None:
        """Try to reach an engine again that new jobs or running ones need."""
        in_use = any(s.runtime_name == runtime.name for s in self._supervisors.values())
        if runtime.name != self._chosen and not in_use:
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

    async def _look_at_jobs(self) -> None:
        repository = self._writer.repository
        active = await repository.active()
        for job in active:
            self._supervise(job)
            self._wake_if_cancelled(job)
        for job in await self._scheduler.turn(await repository.queued(), len(active)):
            self._supervise(job)

    def _wake_if_cancelled(self, job: Job) -> None:
        cancelled = job.cancel_requested_time is not None
        if cancelled and not self._seen_cancels.get(job.id, False):
            self._supervisors[job.id].wake()
        self._seen_cancels[job.id] = cancelled

    def _supervise(self, job: Job) -> None:
        if job.id not in self._supervisors:
            supervisor = Supervisor(
                job.id,
                writer=self._writer,
                execution=self._execution_of(job),
                watcher=self._watcher,
                interval=self._settings.reconcile_interval,
                grace=self._settings.stop_grace,
            )
            self._supervisors[job.id] = supervisor
            self._tasks[job.id] = asyncio.create_task(self._isolated(job.id, supervisor), name=f"job {job.id}")

    async def _isolated(self, job_id: str, supervisor: Supervisor) -> None:
        """What goes wrong with one job stops no other; the next full look gives it a new supervisor."""
        try:
            await supervisor.run()
        except JobNotFound:
            log.info("job %s is gone", job_id)
        except LeadershipLost:
            self._leadership.ended.set()
        except Exception:
            log.exception("job %s: its supervisor failed", job_id)
            await asyncio.sleep(self._settings.reconcile_interval)
        finally:
            self._supervisors.pop(job_id, None)
            self._tasks.pop(job_id, None)
            self._seen_cancels.pop(job_id, None)
            self.wake()

    def _execution_of(self, job: Job) -> Execution:
        if job.type in BUILTIN_TYPES:
            return self._builtin
        return self._executions[job.runtime or self._chosen]

    async def _follow_database(self) -> None:
        while True:
            try:
                async with aclosing(self._writer.repository.changes()) as changes:
                    async for _ in changes:
                        self.wake()
            except (CiError, OSError) as exc:
                log.warning("changes of the database cannot be seen at present: %s", exc)
            await asyncio.sleep(RETRY_EVENTS_SECONDS)

    async def _follow_events(self, runtime: Runtime) -> None:
        while True:
            try:
                async for key in runtime.events():
                    if key.job_id in self._supervisors:
                        self._supervisors[key.job_id].wake()
            except RuntimeUnavailable:
                pass  # The loop says so; here only the wake-ups are missing.
            except OSError as exc:
                log.warning("events of %s cannot be heard at present: %s", runtime.name, exc)
            await asyncio.sleep(RETRY_EVENTS_SECONDS)

    async def _sweep_directories(self) -> None:
        while True:
            try:
                await self._janitor.sweep_directories()
            except (CiError, OSError) as exc:
                log.warning("the directories could not be swept: %s", exc)
            await asyncio.sleep(DIRECTORY_SWEEP_SECONDS)

    async def _dismiss_supervisors(self) -> None:
        """Leave jobs that have not completed as they are; those that have are cleared, within a bounded time."""
        tasks = dict(self._tasks)
        clearing = {tasks[job_id] for job_id, s in self._supervisors.items() if s.is_clearing}
        for task in set(tasks.values()) - clearing:
            task.cancel()
        if clearing:
            await asyncio.wait(clearing, timeout=CLEARING_SECONDS)
        for task in clearing:
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
