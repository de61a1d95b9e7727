"""Carries out jobs in containers or processes of this machine: `Execution` on a `Runtime`."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import ImageFault, RuntimeUnavailable, StartFault
from ci_common.jobs import Job
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Ballast
from ci_common.system.tasks import in_thread
from ci_common.system.trees import allow_changes
from ci_common.system.watch import FileWatcher
from ci_common.times import Clock
from ci_controller.execution.files import Observer, collect_files, note_end_of_log, protect_log
from ci_controller.execution.protocol import Collected, Scope, Wakeups
from ci_controller.execution.watching import AttemptWatch, UsageWatch, all_damage, measure_tree, usage_of
from ci_controller.policy.limits import JobLimits
from ci_controller.policy.verdicts import Observation, WorkloadPhase, tells_all
from ci_controller.pool import Pool
from ci_controller.run_directory import preparation
from ci_controller.run_directory.script import write_script
from ci_controller.run_directory.workspace import fill_workspace
from ci_controller.runtime.protocol import Check, LocalRuntime, WorkloadKey, WorkloadSpec, guarded

log = logging.getLogger(__name__)

LOG_OVERRUN_BYTES = 64 * 1024**2
"""How far past its limit the log of a job that is being stopped may grow before its grace ends."""
OVERRUN_SECONDS = 0.02
"""How often to check that."""
GATE_SECONDS = 1.0
"""How long to hold a gate open for its script, before its caller observes what has become of it."""
EXIT_SECONDS = 1.0
"""How long what ran a job that has completed may take to go by itself, before it is stopped.

An engine that is busy takes its time to tell; a stop would only give it more to do.
"""
ASK_SECONDS = 0.2
"""How long to wait for the engine to tell of that, before it is asked: what it tells may be lost."""
EVENTS_SECONDS = 1.0
"""How long to wait before listening to the engine's events again."""
_RUNS_KEPT = 256
_GONE = (WorkloadPhase.EXITED, WorkloadPhase.ABSENT)


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
    ) -> None:
        """`check` is called before every change to a workload or a run directory, and may forbid it by raising.

        `ballast` is the disk space that is reserved for the database. `pool` has the workloads that wait for jobs.
        """
        self._settings = settings
        self._runtime = guarded(runtime, check)
        self._check = check
        self._data = data
        self._run_of = lru_cache(_RUNS_KEPT)(data.run)
        self._clock = clock
        self._watcher = watcher
        self._observer = Observer(self._runtime, data.path, ballast)
        self._pool = pool
        self._measuring = asyncio.Lock()
        self._watches: dict[WorkloadKey, AttemptWatch] = {}
        self._exits_allowed: dict[WorkloadKey, ExitStack] = {}
        """Those of attempts whose verdict needs the engine's word, too."""
        self.runtime_name = runtime.name

    async def run(self) -> None:
        """Keep the pool filled and pass on what the engine tells, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._pool is not None:
                tasks.create_task(self._pool.run(), name="pool")
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
        key = _key(job)
        watch = self._watches[key] = AttemptWatch(self._run(job), self._watcher, self._usage_watch)
        try:
            yield watch
        finally:
            await watch.close()
            del self._watches[key]
            self._end_exit_allowed(key)
            self._note_started(key)

    def _usage_watch(self, job: Job, exceeded: Callable[[], None]) -> UsageWatch:
        return UsageWatch(
            self._run(job),
            JobLimits.of(_plan(job)),
            watcher=self._watcher,
            clock=self._clock,
            measuring=self._measuring,
            exceeded=exceeded,
            check=self._check,
        )

    # Up to the job's own code.

    async def prepare(self, job: Job) -> None:
        run, plan = self._run(job), _plan(job)
        if self._pool is not None:
            self._pool.note_starting(_key(job))
        if run.is_prepared():
            await self._remove_exited(job, run)
        surroundings = self._runtime.describe(plan, run)
        try:
            script = write_script(
                plan, base=str(surroundings.base), environment=surroundings.environment, setup=surroundings.setup
            )
        except ValueError as exc:  # In plans that were stored before their texts were checked.
            raise StartFault(f"the job's script cannot be written, since one of its texts is not valid: {exc}") from exc
        if await self._take_waiting(job, run, plan, script):
            return
        if job.has_upload and not preparation.has_workspace(run):
            await self._fill_workspace(job, run)
        self._check()
        await in_thread(preparation.prepare, run, script, has_console=self._runtime.has_console)
        await self._runtime.create(WorkloadSpec(_key(job), run, plan))

    async def _remove_exited(self, job: Job, run: RunDirectory) -> None:
        """Remove a workload that has ended before its gate, and nothing else, so that another one can be made."""
        mark, workload = _identity(run.waiting), self._workload(job)
        if (await self._runtime.look(workload)).phase not in _GONE:
            return
        await self._runtime.remove(workload, only_exited=True)
        if self._pool is not None:
            self._pool.forget(_key(job))
        self._unmark(run, mark)

    def _unmark(self, run: RunDirectory, mark: tuple[int, int] | None) -> None:
        """Remove the mark of a workload that is gone from its gate; the mark of another one stays."""
        self._check()
        if mark is not None and _identity(run.waiting) == mark:
            run.waiting.unlink(missing_ok=True)

    async def _take_waiting(self, job: Job, run: RunDirectory, plan: ExecutionPlan, script: bytes) -> bool:
        """Give the attempt a workload that waits for a job of its profile; return whether it has one."""
        if self._pool is None:
            return False
        key = _key(job)
        self._check()
        workload = await self._pool.claim(key, plan) if preparation.is_free(run) else None
        if workload is None:
            return self._pool.workload_of(key) is not None
        waiting = self._data.waiting_run(workload.job_id)
        if job.has_upload and not (preparation.has_workspace(run) or preparation.has_workspace(waiting)):
            await self._fill_workspace(job, run)
        self._check()
        if await in_thread(preparation.move_in, run, waiting, script):
            return True
        await self._pool.release(key)
        return False

    async def _fill_workspace(self, job: Job, run: RunDirectory) -> None:
        if job.attempt == 1:
            raise StartFault(f"the project unpacked for job {job.id} is gone from the data directory; submit it again")
        self._check()
        await fill_workspace(run, self._data.upload(job.id), UnpackLimits.of(self._settings))

    async def start(self, job: Job) -> None:
        await self._runtime.start(self._workload(job))

    async def release_gate(self, job: Job) -> bool:
        run = self._run(job)
        if (watch := self._watches.get(_key(job))) is not None:
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
        self._note_started(_key(job))
        return run.is_started()

    def _note_started(self, key: WorkloadKey) -> None:
        if self._pool is not None:
            self._pool.note_started(key)

    # What is to be seen.

    async def observe(self, job: Job, *, measure: bool = False) -> Observation:
        run, watch = self._run(job), self._watches.get(_key(job))
        if watch is not None:
            watch.follow(job)
        seen = await self._observer.observe(job, run, self._workload(job), has_claim=self._has_claim(job))
        if seen.exit is not None and not tells_all(seen.exit) and seen.phase is WorkloadPhase.RUNNING:
            self._keep_exit_allowed(_key(job), run)  # The engine's word is needed, too, and comes after the exit.
        else:
            self._end_exit_allowed(_key(job))
        usage = usage_of(run, watch, started=seen.started)
        if measure:
            usage = replace(usage, disk_bytes=await measure_tree(run.path, enough=sys.maxsize))
        return replace(seen, usage=usage, log_damage=all_damage(seen, watch))

    # Its end.

    async def stop(self, job: Job, grace: float) -> None:
        own = _plan(job).stop_grace
        ending_grace = asyncio.create_task(self._end_grace_of_a_flood(job))
        try:
            with self._exit_allowed(self._run(job)):
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

    async def collect(self, job: Job) -> Collected:
        self._check()
        if (watch := self._watches.get(_key(job))) is not None and watch.usage is not None:
            try:
                watch.usage.guard.restore()
            except OSError as exc:
                log.warning("job %s: the log that it removed cannot be put back: %s", job.id, exc)
            watch.stop_following()
        self._note_started(_key(job))
        return await collect_files(job, self._data)

    async def clean_up(self, job: Job, scope: Scope = Scope.ALL) -> None:
        run = self._run(job)
        if scope is Scope.WORKSPACE:
            await self._remove_workspace(job, run)
            return
        if self._pool is not None and self._pool.has_claim(_key(job)) and self._pool.workload_of(_key(job)) is None:
            await self._pool.release(_key(job))  # It was claimed, and never taken into use.
        if scope is Scope.ALL and not await self._has_gone(job, run):
            await self._runtime.stop(self._workload(job), 0, run)  # As one that was cancelled at its gate.
        # Anything that the job left running can replace its files while they are removed. Once the engine says that the
        # workload is gone, nothing can.
        try:
            await self._runtime.remove(self._workload(job))
            self._end_exit_allowed(_key(job))
            if self._pool is not None:
                self._pool.forget(_key(job))
            if scope is Scope.ALL:
                await self._remove_files(job, run)
        except (OSError, ImageFault, StartFault):
            await self._runtime.remove(self._workload(job), only_exited=True)
            raise

    async def _has_gone(self, job: Job, run: RunDirectory) -> bool:
        """Return whether the engine says that nothing runs any more.

        What has said that its job has ended may exit for that. A job can write what its script writes, and the engine
        tells of other things than an end: a wake-up is only the moment to ask it.
        """
        if self._observer.finished(job, run) is None:
            return (await self._observer.look(job, run, self._workload(job))).phase in _GONE
        clock, watch = asyncio.get_running_loop().time, self._watches.get(_key(job))
        heard = asyncio.Event() if watch is None else watch.heard
        until = clock() + EXIT_SECONDS
        if job.stop_code is None:  # Else it has been waited for already.
            heard.clear()
        with self._exit_allowed(run):
            while (left := until - clock()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(ASK_SECONDS, left)):
                        await heard.wait()
                heard.clear()
                if (await self._runtime.look(self._workload(job))).phase in _GONE:
                    return True
        return False

    async def _remove_files(self, job: Job, run: RunDirectory) -> None:
        self._check()
        for entry in await in_thread(self._clear_files, job, run):
            await self._runtime.delete_tree(entry)

    def _clear_files(self, job: Job, run: RunDirectory) -> Collection[Path]:
        note_end_of_log(job, self._data)
        allow_changes(run.log)
        return preparation.clear(run)

    async def _remove_workspace(self, job: Job, run: RunDirectory) -> None:
        with self._exit_allowed(run):
            await self._runtime.stop(self._workload(job), 0, run)
        self._check()
        if preparation.has_workspace(run):
            await self._runtime.delete_tree(run.workspace)

    async def list(self) -> Collection[WorkloadKey]:
        listed = await self._runtime.list_workloads()
        return [each.key for each in listed] if self._pool is None else await self._pool.adopt(listed)

    def _exit_allowed(self, run: RunDirectory) -> ExitStack:
        """Return a context: while it is open, a workload that stays after its job has finished may exit."""
        self._check()
        stack = ExitStack()
        # No other stays; and what has not begun would begin by this.
        if self._runtime.has_console and run.is_started():
            with suppress(OSError):  # Where the gate has gone, nothing stays at it.
                stack.enter_context(preparation.opened_gate(run))
        return stack

    def _keep_exit_allowed(self, key: WorkloadKey, run: RunDirectory) -> None:
        if key not in self._exits_allowed:
            self._exits_allowed[key] = self._exit_allowed(run)

    def _end_exit_allowed(self, key: WorkloadKey) -> None:
        if (allowed := self._exits_allowed.pop(key, None)) is not None:
            allowed.close()

    def _run(self, job: Job) -> RunDirectory:
        return self._run_of(job.id, job.attempt)

    def _workload(self, job: Job) -> WorkloadKey:
        """Return what the attempt runs in: a workload made for it, or one that had waited for a job."""
        return (self._pool and self._pool.workload_of(_key(job))) or _key(job)

    def _has_claim(self, job: Job) -> bool:
        return self._pool is not None and self._pool.has_claim(_key(job))


def _key(job: Job) -> WorkloadKey:
    return WorkloadKey(job.id, job.attempt)


def _plan(job: Job) -> ExecutionPlan:
    """Return what the job is to do. Raises ValidationError for a row without a valid plan."""
    return ExecutionPlan.model_validate(job.plan)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from another one that has its name later, or None if there is none."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns
