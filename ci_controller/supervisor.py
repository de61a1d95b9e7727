"""One attempt of a job: look, ask `plan` for the next step, take it, look again. One task per attempt not at rest.

The task can be cancelled anywhere; that means that this process is leaving, and touches neither job nor workload.
"""

import asyncio
import errno
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from ci_common.errors import ImageFault, LeadershipLost, RuntimeUnavailable, StaleWrite, StartFault, Unavailable
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, StartWay, State
from ci_common.stations import Station
from ci_common.watch import FileWatcher, Watched
from ci_controller import plan as steps
from ci_controller.completion import Writer, clear, complete, try_again
from ci_controller.execution import Execution
from ci_controller.job_time import OutputTime, start_of_run
from ci_controller.plan import Action, conclude, plan
from ci_controller.retrying import Chance
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.usage import UsageWatch
from ci_controller.verdicts import Observed, Sight, Verdict

log = logging.getLogger(__name__)

BringingUp = steps.Create | steps.Start | steps.Discard | steps.MoveIn | steps.MoveInRunning

GLANCE_SECONDS = 0.02
"""How long after something happened to a running job to look at its files alone, before asking what runs it.

Mostly it is a step that ends, and the job with it, which the files tell sooner.
"""
GATE_GLANCE_SECONDS = 0.25
"""How long what has been started may take to its gate before the engine is asked what became of it."""
LEAVING_SECONDS = 0.2
"""How long what ran a job that has completed may take to go by itself, before it is removed."""
STALE_SECONDS = 0.05
"""How long to wait before the next look when somebody else has written the row."""


class Supervisor:
    """Drives one attempt of a job until nothing is left to do for it."""

    def __init__(
        self,
        job: Job,
        *,
        writer: Writer,
        execution: Execution,
        watcher: FileWatcher,
        interval: float,
        grace: float,
        chance: Chance,
    ) -> None:
        """`job` is the row as just read, as of the attempt that is to be driven."""
        self._key = WorkloadKey(job.id, job.attempt)
        self._row: Job | None = job
        """The row where it need not be read again."""
        self._writer = writer
        self._execution = execution
        self.runtime_name = execution.runtime_name
        self._watcher = watcher
        self._interval = interval
        self._grace = grace
        self._chance = chance
        self._wakeups = watcher.subscribe()
        self._watching = False
        self._woken = asyncio.Event()
        """Set once something has happened since the job began to run."""
        self._booting_since: float | None = None
        self._starts = 0
        self._output = OutputTime()
        self._usage: UsageWatch | None = None
        self._following_usage: asyncio.Task[None] | None = None
        self.is_clearing = False
        """Whether the attempt has ended, and only its remains are still to be removed."""

    def wake(self) -> None:
        """Make the supervisor look again soon: something has happened of which no file tells."""
        self._woken.set()
        self._wakeups.wake()

    async def run(self) -> None:
        """Take step after step until the job rests. Raises JobNotFound where its row goes meanwhile, LeadershipLost."""
        try:
            while not await self._turn():
                pass
        finally:
            self._wakeups.close()
            self._stop_following_usage()

    async def _turn(self) -> bool:
        """Look and take one step, or wait until that is possible; return whether nothing is left to do here."""
        try:
            # Once another attempt has begun, or is waiting to, this one is as a completed job: to be cleared.
            job = self._row or (await self._writer.repository.get(self._key.job_id)).as_of(self._key.attempt)
            self._row = None
            return await self._step(job)
        except LeadershipLost:
            raise
        except StaleWrite:
            await self._wait(STALE_SECONDS)
        except Unavailable as exc:
            log.warning("job %s: %s", self._key.job_id, exc)
            await self._wait(self._interval)
        return False

    async def _step(self, job: Job) -> bool:
        self._watch(job)
        try:
            seen, now = await self._execution.look(job), self._writer.now_of(job)
            seen = self._with_what_is_known_here(seen, now)
            self._note_progress(job, seen)
            bounds, retry = self._execution.bounds_of(job), self._execution.retry_of(job)
            action = plan(job, seen, now, bounds=bounds, retry=retry)
            if isinstance(action, steps.Rest | steps.MarkStarting):
                return True  # Completed and cleared; or queued, and so the scheduler's.
            if isinstance(action, steps.Remove):
                self.is_clearing = True
                await clear(job, self._execution, has_ended=seen.sight in (Sight.EXITED, Sight.ABSENT))
                return True
            await self._take(action, job)
            if seen.sight is Sight.FINISHED:
                await self._let_go()
        except RuntimeUnavailable as exc:
            log.warning("job %s: the engine does not answer: %s", job.id, exc)
            await self._say_unavailable(job, exc)
            await self._wait(self._interval)
        return False

    def _note_progress(self, job: Job, seen: Observed) -> None:
        """Note how far the job that runs has come."""
        if job.state is not State.RUNNING:
            return
        trace = self._writer.traces.of(job)
        if self._usage is not None and self._usage.first_output is not None:
            trace.note(Station.FIRST_OUTPUT, self._usage.first_output)
        elif seen.usage.log_bytes > 0:
            trace.note(Station.FIRST_OUTPUT)
        if seen.exit is not None or seen.sight is Sight.EXITED:
            trace.note(Station.EXIT_SEEN)

    async def _say_unavailable(self, job: Job, exc: RuntimeUnavailable) -> None:
        """A job that waits says what for; one that runs goes on, seen or not."""
        reason = Reason(ReasonCode.ENGINE_UNAVAILABLE, f"the engine does not answer: {exc}")
        if job.state is State.STARTING and job.reason != reason:
            await self._writer.write(job, reason=reason)

    def _with_what_is_known_here(self, seen: Observed, now: datetime) -> Observed:
        """Return what was seen together with what only this supervisor knows, in the job's own time."""
        usage = replace(
            seen.usage,
            last_output=self._output.last(seen.usage.last_output, now, self._writer.clock()),
            workspace_bytes=self._usage.workspace_bytes if self._usage is not None else None,
        )
        return replace(seen, booting_since=self._first_seen_booting(seen, now), starts=self._starts, usage=usage)

    def _first_seen_booting(self, seen: Observed, now: datetime) -> datetime | None:
        if seen.sight is not Sight.BOOTING:
            self._booting_since = None
            return None
        uptime = self._writer.uptime()
        if self._booting_since is None:
            self._booting_since = uptime
        return now - timedelta(seconds=uptime - self._booting_since)

    async def _take(self, action: Action, job: Job) -> None:
        match action:
            case steps.Wait(until):
                await self._wait_until(until, self._writer.now_of(job))
                await self._glance(job)
            case steps.Create() | steps.Start() | steps.Discard() | steps.MoveIn() | steps.MoveInRunning():
                await self._bring_up(action, job)
            case steps.MoveOut():
                await self._execution.move_out(job)
                await self._writer.write(job, workload=None, start_way=StartWay.COLD)
            case steps.MarkRunning():
                self._writer.traces.of(job).note(Station.AT_GATE)
                await self._let_run(await self._mark_running(job))
            case steps.Adopt():
                log.warning("job %s has begun before, in a past that the database does not know", job.id)
                await self._writer.write(job, state=State.RUNNING, start_time=self._writer.clock(), reason=None)
            case steps.OpenGate():
                await self._open_gate(job)
            case steps.MarkStopping(code):
                await self._mark_stopping(job, code)
            case steps.Stop():
                await self._execution.stop(job, self._grace)
            case steps.Complete() | steps.TryAgain():
                await self._end(job, action)

    async def _mark_running(self, job: Job) -> Job:
        begun = start_of_run(self._writer.clock, self._writer.uptime)
        return await self._writer.write(job, state=State.RUNNING, reason=None, **begun)

    async def _move_in_running(self, job: Job) -> None:
        both = self._mark_running(job), self._move_in(job)
        # Neither is left alone where the other fails.
        running, is_own = await asyncio.gather(*both, return_exceptions=True)
        if isinstance(running, BaseException):
            raise running
        if isinstance(is_own, BaseException):
            raise is_own
        if is_own:
            await self._let_run(running)

    async def _move_in(self, job: Job) -> bool:
        if is_own := await self._execution.move_in(job):
            self._writer.traces.of(job).note(Station.MOVED_IN)
            self._writer.traces.of(job).note(Station.AT_GATE)
        return is_own

    async def _let_run(self, job: Job) -> None:
        self._watch(job)
        self._woken.clear()
        await self._open_gate(job)
        await self._glance(job)

    async def _open_gate(self, job: Job) -> None:
        if await self._execution.open_gate(job):
            self._writer.traces.of(job).note(Station.GATE_OPENED)

    async def _bring_up(self, action: BringingUp, job: Job) -> None:
        try:
            match action:
                case steps.Create():
                    await self._execution.create(job)
                    self._writer.traces.of(job).note(Station.CREATED)
                case steps.Start():
                    await self._execution.start(job)
                    self._starts += 1
                    await self._until(lambda: self._execution.is_at_gate(job), GATE_GLANCE_SECONDS)
                case steps.Discard():
                    await self._execution.discard(job)
                case steps.MoveIn():
                    await self._move_in(job)
                    self._row = job
                case steps.MoveInRunning():
                    await self._move_in_running(job)
        except (StartFault, ImageFault) as fault:
            await self._fail(job, fault.reason_code, str(fault))
        except OSError as exc:
            full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            code = ReasonCode.DISK_FULL if full else ReasonCode.START_FAILED
            await self._fail(job, code, f"the run directory cannot be prepared: {exc}")

    async def _mark_stopping(self, job: Job, code: ReasonCode) -> None:
        seen = await self._execution.look(job)
        if seen.exit is None and seen.sight is not Sight.EXITED:
            await self._writer.write(job, stop_code=code)

    async def _fail(self, job: Job, code: ReasonCode, message: str) -> None:
        verdict = Verdict(Conclusion.ERRORED, Reason(code, message))
        await self._end(job, conclude(job, verdict, self._execution.retry_of(job)))

    async def _end(self, job: Job, action: steps.Complete | steps.TryAgain) -> None:
        self._stop_following_usage()
        match action:
            case steps.Complete(verdict):
                await complete(job, verdict, writer=self._writer, execution=self._execution)
            case steps.TryAgain(verdict, retry):
                await try_again(
                    job, verdict, retry, writer=self._writer, execution=self._execution, chance=self._chance
                )
        self.is_clearing = True

    def _watch(self, job: Job) -> None:
        """Once the run directory exists, files that appear in it wake this supervisor, and what it uses is followed."""
        directory = self._execution.watched(job)
        if directory is None:
            return
        if not self._watching:
            before, self._wakeups = self._wakeups, self._watcher.subscribe((directory, Watched.ENTRIES))
            before.close()
            self._watching = True
        if job.state is State.RUNNING:
            self._follow_usage(job)

    def _follow_usage(self, job: Job) -> None:
        """From before the gate opens, so that nothing is missed of what the job does first."""
        if self._usage is None:
            self._usage = self._execution.usage_watch(job, self._watcher, self.wake)
            if self._usage is not None:
                self._following_usage = asyncio.create_task(self._usage.run(), name=f"usage of {job.id}")
                self._following_usage.add_done_callback(_say_what_failed)

    def _stop_following_usage(self) -> None:
        if self._following_usage is not None:
            self._following_usage.cancel()

    async def _glance(self, job: Job) -> None:
        """Let a job that runs come to its end, if it is about to."""
        if job.state is not State.RUNNING:
            return
        await self._until(lambda: self._execution.has_ended(job), GLANCE_SECONDS)
        if self._execution.has_ended(job):
            self._row = job  # Nobody else writes it, and a request to cancel it comes too late.

    async def _let_go(self) -> None:
        """Let what ran the job go by itself, which the engine tells of: readers get the verdict meanwhile."""
        await self._until(self._woken.is_set, LEAVING_SECONDS)

    async def _until(self, has_come: Callable[[], bool], seconds: float) -> None:
        """Wait until something has come, of which files or the engine tell, for so many seconds at most."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while not has_come() and clock() < until:
            await self._wait(until - clock())

    async def _wait_until(self, until: datetime | None, now: datetime) -> None:
        limit = now + timedelta(seconds=self._interval)
        await self._wait(((min(limit, until) if until is not None else limit) - now).total_seconds())

    async def _wait(self, seconds: float) -> None:
        await self._wakeups.wait(max(0.0, seconds))


def _say_what_failed(following: "asyncio.Task[None]") -> None:
    if not following.cancelled() and following.exception() is not None:
        log.error("the %s is not followed any more", following.get_name(), exc_info=following.exception())
