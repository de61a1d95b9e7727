"""How jobs are carried out that run in containers or processes: `Execution` on a `Runtime`."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import StartFault
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.output import milestones_in_files
from ci_common.spec import ExecutionPlan, Retry
from ci_common.system.disk import Ballast, is_full
from ci_common.system.tasks import in_thread
from ci_common.system.trees import allow_changes
from ci_common.system.watch import FileWatcher
from ci_common.times import Clock
from ci_controller.execution.collecting import collect_files, note_end_of_log
from ci_controller.execution.job_parts import has_files, identity, key_of, plan_of
from ci_controller.execution.log_guard import damage_of, protect_log
from ci_controller.execution.observing import sight_of, usage_of
from ci_controller.execution.usage import UsageWatch, measure
from ci_controller.policy.limits import Bounds
from ci_controller.policy.verdicts import Observed, Sight, tells_all
from ci_controller.run_directory import preparation
from ci_controller.run_directory.script import write_script
from ci_controller.run_directory.workspace import fill_workspace
from ci_controller.runtime.guarded import Check, GuardedRuntime
from ci_controller.runtime.protocol import Phase, Runtime, Workload, WorkloadSpec

LOG_OVERRUN_BYTES = 64 * 1024**2
"""How far past its limit the log of a job that is being stopped may grow before its grace ends."""
OVERRUN_SECONDS = 0.02
"""How often to look at that."""
_RUNS_KEPT = 256
GATE_SECONDS = 1.0
"""How long to hold a gate open for its script, before looking again at what has become of it."""


class WorkloadExecution:
    """Container jobs, on one runtime."""

    def __init__(
        self,
        runtime: Runtime,
        data: DataDirectory,
        clock: Clock,
        *,
        limits: UnpackLimits,
        check: Check,
        ballast: Ballast,
    ) -> None:
        """`limits` are those of the uploads that the attempts after the first unpack again.

        `check` is called before every change to a workload or a run directory, and may forbid it by raising. `ballast`
        is the room that is kept back for the database.
        """
        self._runtime = GuardedRuntime(runtime, check)
        self._check = check
        self._data = data
        self._run_of = lru_cache(_RUNS_KEPT)(data.run)
        self._clock = clock
        self._unpack_limits = limits
        self._ballast = ballast
        self._measuring = asyncio.Lock()
        self.runtime_name = runtime.name

    def bounds_of(self, job: Job) -> Bounds:
        return Bounds.of(plan_of(job))

    def retry_of(self, job: Job) -> Retry | None:
        return plan_of(job).retry

    def watched(self, job: Job) -> Path | None:
        path = self._run(job).path
        return path if self._waiting_run(job) is None and preparation.is_there(self._run(job)) else None

    async def look(self, job: Job) -> Observed:
        waiting_run = self._waiting_run(job)
        run = waiting_run or self._run(job)
        if (finished := self._finished(job, run)) is not None:
            return finished
        workload = await self._look_at_workload(job, run)
        if (finished := self._finished(job, run)) is not None:
            return finished
        # The marks are read after the engine was asked: what has exited by then has left all it will ever leave.
        started, waiting, ended = run.is_started(), run.is_waiting(), run.read_exit()
        if job.state is State.RUNNING and workload.phase is Phase.RUNNING and not os.path.lexists(run.gate):
            started = True  # The job has removed the mark with the gate, which is there until it has completed.
        return Observed(
            Sight.POOLED
            if waiting_run and workload.phase is Phase.RUNNING
            else sight_of(workload, waiting=waiting, started=started),
            exit=ended,
            started=started,
            spent=job.state is not State.COMPLETED and run.is_spent(),
            workload_exit_code=workload.exit_code,
            out_of_memory=workload.out_of_memory,
            usage=usage_of(run, started=started),
            disk_full=ended is None and self._is_disk_full(),
            log_damage=damage_of(job, run, ended),
            ready=waiting_run is not None and self._is_ready(job, waiting_run),
            cleared=job.state is not State.COMPLETED or (waiting_run is None and preparation.is_cleared(run)),
        )

    def _is_disk_full(self) -> bool:
        """Tell whether the disk has no room, or had none and has only been given some back."""
        return is_full(self._data.path) or self._ballast.was_given_up_for(self._data.path)

    def _is_ready(self, job: Job, waiting_run: RunDirectory) -> bool:
        run = self._run(job)
        return has_files(job, run, waiting_run) and preparation.is_free(run)

    def _finished(self, job: Job, run: RunDirectory) -> Observed | None:
        """Return what there is to see of an attempt whose script has said all there is to learn, else None."""
        has_run = job.state in (State.RUNNING, State.COMPLETED)
        if not has_run or not self._runtime.has_console:  # Without one, it cannot know.
            return None
        ended = run.read_exit()
        if ended is None or not tells_all(ended):
            return None
        started = run.is_started()
        usage, damage = usage_of(run, started=started), damage_of(job, run, ended)
        return Observed(Sight.FINISHED, exit=ended, started=started, usage=usage, log_damage=damage)

    def is_at_gate(self, job: Job) -> bool:
        return self._run(job).is_waiting()

    def has_ended(self, job: Job) -> bool:
        return self._run(job).read_exit() is not None

    async def _look_at_workload(self, job: Job, run: RunDirectory) -> Workload:
        """Ask the engine, but where files tell the same, which takes far less."""
        if job.state is State.STARTING and job.workload is None and not run.is_prepared():
            return Workload(Phase.ABSENT)
        if job.state is State.STARTING and run.is_waiting() and not run.is_started() and run.is_gate_read():
            return Workload(Phase.RUNNING)
        return await self._runtime.look(key_of(job))

    async def create(self, job: Job) -> None:
        run, plan = self._run(job), plan_of(job)
        if job.has_upload and not preparation.has_workspace(run):
            await self._fill_workspace(job, run)
        self._check()
        await in_thread(preparation.prepare, run, self._script(run, plan), has_console=self._runtime.has_console)
        await self._runtime.create(WorkloadSpec(key_of(job), run, plan))

    async def _fill_workspace(self, job: Job, run: RunDirectory) -> None:
        if job.attempt == 1:
            raise StartFault(f"the project unpacked for job {job.id} is gone from the data directory; submit it again")
        self._check()
        await fill_workspace(run, self._data.upload(job.id), self._unpack_limits)

    def _script(self, run: RunDirectory, plan: ExecutionPlan) -> bytes:
        base, environment = str(self._runtime.base_directory(run)), self._runtime.environment()
        setup = self._runtime.setup(run, plan)
        try:
            return write_script(plan, base=base, environment=environment, setup=setup)
        except ValueError as exc:  # In plans that were stored before their texts were checked.
            raise StartFault(f"the job's script cannot be written, since one of its texts is not valid: {exc}") from exc

    async def move_in(self, job: Job) -> bool:
        run, waiting_run = self._run(job), self._waiting_run(job)
        if waiting_run is None:
            return True
        if not has_files(job, run, waiting_run):
            await self._fill_workspace(job, run)
        self._check()
        moved = await in_thread(preparation.move_in, run, waiting_run, self._script(run, plan_of(job)))
        if not moved:
            await self._runtime.remove(key_of(job))
        return moved

    async def move_out(self, job: Job) -> None:
        if job.workload is None:
            return
        run = self._run(job)
        mark = identity(run.waiting)
        self._check()
        await in_thread(preparation.move_out, run, self._data.waiting_run(job.workload))
        self._unmark(run, mark)

    async def start(self, job: Job) -> None:
        await self._runtime.start(key_of(job))

    async def open_gate(self, job: Job) -> bool:
        run = self._run(job)
        if run.is_started():
            return False
        self._check()
        protect_log(run)
        with preparation.opened_gate(run):
            delay = 0.0005  # The script needs less to make its mark than an inotify watch costs.
            while not run.is_started() and delay < GATE_SECONDS:
                await asyncio.sleep(delay)
                delay *= 2
        return run.is_started()

    def usage_watch(self, job: Job, watcher: FileWatcher, exceeded: Callable[[], None]) -> UsageWatch:
        return UsageWatch(
            self._run(job),
            self.bounds_of(job),
            watcher=watcher,
            clock=self._clock,
            measuring=self._measuring,
            exceeded=exceeded,
            check=self._check,
        )

    async def stop(self, job: Job, grace: float) -> None:
        own = plan_of(job).stop_grace
        ending_grace = asyncio.create_task(self._end_grace_of_a_flood(job))
        try:
            with self.letting_go(job):
                await self._runtime.stop(key_of(job), grace if own is None else own, self._run(job))
        finally:
            ending_grace.cancel()
            await asyncio.gather(ending_grace, return_exceptions=True)

    async def _end_grace_of_a_flood(self, job: Job) -> None:
        """Kill a job that uses its grace to write far more into its log than it may."""
        limit = self.bounds_of(job).log
        while limit is not None:
            if self._run(job).log_size() > limit + LOG_OVERRUN_BYTES:
                await self._runtime.stop(key_of(job), 0, self._run(job))
                break
            await asyncio.sleep(OVERRUN_SECONDS)

    async def collect(self, job: Job) -> dict[str, Any]:
        self._check()
        return await collect_files(job, self._data)

    @contextmanager
    def letting_go(self, job: Job) -> Iterator[None]:
        run = self._run(job)
        self._check()
        with ExitStack() as stack:
            # Nothing else stays; and what has not begun would begin by this.
            if self._runtime.has_console and run.is_started():
                with suppress(OSError):  # Where the gate has gone, nothing stays at it.
                    stack.enter_context(preparation.opened_gate(run))
            yield

    def passed(self, job: Job) -> Mapping[str, int]:
        return milestones_in_files(self._run(job))

    async def discard(self, job: Job) -> None:
        run = self._run(job)
        mark = identity(run.waiting)
        await self._runtime.discard(key_of(job))
        self._unmark(run, mark)

    def _unmark(self, run: RunDirectory, mark: tuple[int, int] | None) -> None:
        """Remove the mark of a workload that is gone from its gate; another one's is not this one's."""
        self._check()
        if mark is not None and identity(run.waiting) == mark:
            run.waiting.unlink(missing_ok=True)

    async def make_room(self, job: Job) -> bool:
        workspace = self._run(job).workspace
        with self.letting_go(job):
            await self._runtime.stop(key_of(job), 0, self._run(job))
        self._check()
        if not preparation.has_workspace(self._run(job)):
            return False
        await self._runtime.reclaim(workspace)
        return True

    async def taken(self, job: Job) -> int:
        return await measure(self._run(job).path, enough=sys.maxsize)

    async def has_gone(self, job: Job) -> bool:
        return (await self._runtime.look(key_of(job))).phase in (Phase.EXITED, Phase.ABSENT)

    async def clear(self, job: Job, *, has_ended: bool) -> None:
        run = self._run(job)
        if not has_ended:
            # As one that was cancelled at its gate.
            await self._runtime.stop(key_of(job), 0, self._run(job))
        # Whatever the job left running can replace its files while they are removed. Once the engine says that the
        # workload is gone, nothing can.
        await self._runtime.remove(key_of(job))
        self._check()
        for entry in await in_thread(self._clear_files, job, run):
            await self._runtime.reclaim(entry)
        if waiting_run := self._waiting_run(job):
            await self._runtime.reclaim(waiting_run.path)

    def _clear_files(self, job: Job, run: RunDirectory) -> list[Path]:
        note_end_of_log(job, self._data)
        allow_changes(run.log)
        return preparation.clear(run)

    def _run(self, job: Job) -> RunDirectory:
        return self._run_of(job.id, job.attempt)

    def _waiting_run(self, job: Job) -> RunDirectory | None:
        """Return the run directory of the waiting workload that the job took, until it is the job's own."""
        run = None if job.workload is None else self._data.waiting_run(job.workload)
        return run if run is not None and preparation.is_there(run) else None
