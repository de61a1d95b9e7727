"""One attempt of a job: observe, ask `plan` for the next step, take it, observe again. One task per attempt not done.

Cancelling the task means that this process is leaving: it touches neither job nor workload.
"""

import asyncio
import errno
import logging
import math

from ci_common.attempts.parts import StartWay
from ci_common.errors import LeadershipLost, StaleWrite, Unavailable
from ci_common.jobs import Job, Reason, ReasonCode, State
from ci_common.runtime_faults import ImageFault, NoNetwork, RuntimeUnavailable, StartFault
from ci_common.settings import Settings
from ci_common.spec import Retry
from ci_common.times import Milestone
from ci_controller.execution.protocol import Execution, Wakeups
from ci_controller.job_writer import AttemptTimes, JobWriter, start_of_run
from ci_controller.plan import (
    Action,
    Adopt,
    Complete,
    Done,
    Jitter,
    MarkRunning,
    MarkStarting,
    MarkStopping,
    Prepare,
    ReleaseGate,
    Remove,
    Requeue,
    Start,
    Stop,
    Wait,
    conclude,
    plan,
    retry_of,
)
from ci_controller.policy import NO_LIMITS, JobLimits, Observation, WorkloadPhase, errored, has_ended, limits_of
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.supervision.completion import end, note_cleaned

log = logging.getLogger(__name__)

STALE_SECONDS = 0.05
"""How long to wait before the next look when the row has been written by others."""
END_GLANCE_SECONDS = 0.02
"""How long after something happened to a running job to wait for its end, before what runs it is asked.

Mostly it is a step that ends, and the job with it, which costs nothing to see.
"""
GATE_GLANCE_SECONDS = 0.25
"""How long what has been started may take to its gate before it is asked what became of it."""


class Supervisor:
    """Drives one attempt of a job until nothing is left to do for it."""

    def __init__(
        self, job: Job, settings: Settings, *, writer: JobWriter, execution: Execution, jitter: Jitter
    ) -> None:
        """`job` is the row as just read, as of the attempt that is to be driven."""
        self._settings = settings
        self._key = WorkloadKey.of(job)
        self._row: Job | None = job
        """The row where it need not be read again."""
        self._completed: Job | None = None
        """The row where it was completed here; no other process writes it after that."""
        self._writer = writer
        self._execution = execution
        self.runtime_name = execution.runtime_name
        self._terms: tuple[JobLimits, Retry | None] | None = None
        self._wakeups: Wakeups | None = None
        self._jitter = jitter
        self._times = AttemptTimes()
        self._running: Job | None = None
        """The row as last seen, while the job runs."""
        self._is_starved = False
        self.is_cleaning_up = False
        """Whether the attempt has ended, and only its remains are still to be removed."""

    def wake(self) -> None:
        """Make the supervisor observe its attempt again soon."""
        if self._wakeups is not None:
            self._wakeups.wake()

    async def disk_bytes(self) -> int:
        """Return how many bytes the files of an attempt take whose code runs; 0 for one that does not."""
        job = self._running
        if job is None or self._peek(job) is WorkloadPhase.FINISHED:
            return 0
        return (await self._execution.observe(job, measure=True)).usage.disk_bytes or 0

    def end_for_room(self) -> None:
        """Have the attempt end because the disk is full. The row says so only afterwards: there is no room for more."""
        self._is_starved = True
        self.wake()

    async def run(self) -> None:
        """Take step after step until nothing is left to do. Raises JobNotFound where the row goes, LeadershipLost."""
        job = self._row
        assert job is not None, "a supervisor runs once"
        async with self._execution.events(job) as self._wakeups:
            while not await self._turn():
                pass

    async def _turn(self) -> bool:
        """Take one step, or wait until that is possible; return whether nothing is left to do here."""
        try:
            # Once another attempt has begun, or is waiting to, this one is as a completed job: to be cleaned up.
            job = self._row or (await self._writer.storage.jobs.get(self._key.job_id)).as_of(self._key.attempt)
            self._row = None
            return await self._step(job)
        except LeadershipLost:
            raise
        except StaleWrite:
            await self._wait(STALE_SECONDS)
        except Unavailable as exc:
            log.warning("job %s: %s", self._key.job_id, exc)
            await self._wait(self._settings.reconcile_interval)
        return False

    async def _step(self, job: Job) -> bool:
        try:
            seen, now = await self._execution.observe(job), self._writer.now_of(job)
            seen = self._times.added_to(seen, now, self._writer)
            self._writer.timelines.note_progress(job, seen)
            self._running = job if job.state is State.RUNNING else None
            if self._is_starved and await self._end_starved(job):
                return False
            limits, retry = self._terms_of(job)
            action = plan(job, seen, now, limits=limits, retry=retry)
            if isinstance(action, Done | MarkStarting):
                return True  # Completed and cleaned up; or queued, and so the scheduler's.
            if isinstance(action, Remove):
                await self._clean_up(job)
                return True
            await self._take(action, job, seen)
        except RuntimeUnavailable as exc:
            await self._note_unavailable(job, exc)
            await self._wait(self._settings.reconcile_interval)
        return False

    def _terms_of(self, job: Job) -> tuple[JobLimits, Retry | None]:
        """Return the job's limits and its retry policy; neither matters once it has completed."""
        if job.state is State.COMPLETED:
            return NO_LIMITS, None
        if self._terms is None:
            self._terms = limits_of(job), retry_of(job)
        return self._terms

    async def _note_unavailable(self, job: Job, exc: RuntimeUnavailable) -> None:
        """Write why a job that starts waits; one that runs goes on, seen or not."""
        message = str(exc) if isinstance(exc, NoNetwork) else f"the engine does not answer: {exc}"
        reason = Reason(exc.reason_code, message)
        if job.state is State.STARTING and job.reason == reason:
            return
        log.warning("job %s: %s", job.id, message)
        if job.state is State.STARTING:
            await self._writer.write(job, reason=reason)

    # The steps.

    async def _take(self, action: Action, job: Job, seen: Observation) -> None:
        match action:
            case Wait():
                await self._wait_as_planned(job, action)
            case Prepare() | Start():
                await self._bring_up(action, job)
            case MarkRunning():
                self._row = await self._run_at_gate(job, seen.start_way)
            case ReleaseGate():
                await self._release_gate(job)
            case Adopt():
                log.warning("job %s has begun already, which this copy of the database does not say", job.id)
                await self._writer.write(job, state=State.RUNNING, start_time=self._writer.clock(), reason=None)
            case MarkStopping(code):
                await self._mark_stopping(job, code)
            case Stop():
                await self._execution.stop(job, self._settings.stop_grace)
            case Complete() | Requeue():
                await self._end(job, action)

    async def _wait_as_planned(self, job: Job, action: Wait) -> None:
        if action.reason is not None and action.reason != job.reason:
            await self._writer.write(job, reason=action.reason)
        left = math.inf if action.until is None else (action.until - self._writer.now_of(job)).total_seconds()
        await self._wait(min(left, self._settings.reconcile_interval))
        if job.state is State.RUNNING and await self._glance_at_end(job):
            self._row = job

    async def _bring_up(self, action: Prepare | Start, job: Job) -> None:
        try:
            if isinstance(action, Prepare):
                await self._execution.prepare(job)
                self._row = job  # A request to cancel it is seen when it is marked as running.
            else:
                self._row = await self._start(job)
                self._times.starts += 1
        except (StartFault, ImageFault) as fault:
            await self._fail(job, fault.reason_code, str(fault))
        except OSError as exc:
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            code = ReasonCode.DISK_FULL if full else ReasonCode.START_FAILED
            await self._fail(job, code, f"the run directory cannot be prepared: {exc}")

    async def _start(self, job: Job) -> Job | None:
        """Start it, and let the job run as soon as it is at its gate: the engine answers some time after that.

        Return the row where it need not be read again.
        """
        was_there = self._peek(job) is not None  # Then that is the mark of an earlier workload, which is gone.
        starting, row = asyncio.ensure_future(self._execution.start(job)), None
        starting.add_done_callback(lambda _: self.wake())
        try:
            while not starting.done() and (was_there or self._peek(job) is None):
                await self._wait(self._settings.reconcile_interval)
            if not starting.done():
                row = await self._run_at_gate(job, StartWay.COLD)
            await starting
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        until = self._now() + GATE_GLANCE_SECONDS
        while self._peek(job) is None and self._now() < until:
            await self._wait(until - self._now())
        return row

    async def _run_at_gate(self, job: Job, way: StartWay) -> Job | None:
        """Write that the job runs, and release its gate; return the row where it need not be read again."""
        self._writer.timelines.of(job).note(Milestone.AT_GATE)
        begun = start_of_run(self._writer.clock, self._writer.uptime)
        if way is StartWay.WARM:
            begun["start_way"] = way
        running = await self._writer.write(job, state=State.RUNNING, reason=None, **begun)
        if running.cancel_requested_time is not None:
            return running
        await self._release_gate(running)
        return running if await self._glance_at_end(running) else None

    async def _release_gate(self, job: Job) -> None:
        if await self._execution.release_gate(job):
            self._writer.timelines.of(job).note(Milestone.GATE_OPENED)

    async def _mark_stopping(self, job: Job, code: ReasonCode) -> None:
        if not has_ended(await self._execution.observe(job)):
            await self._writer.write(job, stop_code=code)

    # Its end.

    async def _end_starved(self, job: Job) -> bool:
        """End a job that runs and has most of a full disk; return whether it did not end by itself before that."""
        self._is_starved = False
        if job.state is not State.RUNNING or self._peek(job) is WorkloadPhase.FINISHED:
            return False
        await self._execution.stop(job, 0)
        after = await self._execution.observe(job)
        if after.exit is not None and not after.exit.terminated:
            return False
        await self._fail(job, ReasonCode.DISK_FULL, "the disk was full, and this job had taken most of it")
        return True

    async def _fail(self, job: Job, code: ReasonCode, message: str) -> None:
        await self._end(job, conclude(job, errored(code, message), retry_of(job)))

    async def _end(self, job: Job, action: Complete | Requeue) -> None:
        self._completed = await end(job, action, writer=self._writer, execution=self._execution, jitter=self._jitter)
        if self._completed is not None:
            self._row = self._completed.as_of(self._key.attempt)
        self.is_cleaning_up = True

    async def _clean_up(self, job: Job) -> None:
        """Remove what a completed job left, as far as possible at present."""
        self.is_cleaning_up = True
        try:
            caches = await self._execution.clean_up(job)
        except (OSError, ImageFault, StartFault) as exc:
            log.warning("job %s: something is left in its run directory: %s", job.id, exc)
        else:
            await note_cleaned(job, self._writer, self._completed, caches)

    # Waiting.

    def _peek(self, job: Job) -> WorkloadPhase | None:
        return None if self._wakeups is None else self._wakeups.peek(job)

    async def _glance_at_end(self, job: Job) -> bool:
        """Give a job that runs a moment to come to its end, if it is about to; return whether it has.

        Then its row need not be read again: only this controller writes it, and a request to cancel it comes too late.
        """
        until = self._now() + END_GLANCE_SECONDS
        while self._peek(job) is not WorkloadPhase.FINISHED:
            if (left := until - self._now()) <= 0:
                return False
            await self._wait(left)
        return True

    async def _wait(self, seconds: float) -> None:
        assert self._wakeups is not None, "only a supervisor that runs waits"
        await self._wakeups.wait(max(0.0, seconds))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
