"""One attempt of a job: look, ask `plan` for the next step, take it, look again. One task per attempt not at rest.

Cancelling the task means that this process is leaving: it touches neither job nor workload.
"""

import asyncio
import errno
import logging
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta

from ci_common.errors import ImageFault, LeadershipLost, NoRoom, RuntimeUnavailable, StaleWrite, StartFault, Unavailable
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, StartWay, State
from ci_common.spec import Retry
from ci_common.system.watch import FileWatcher
from ci_common.times import Milestone
from ci_controller import plan as steps
from ci_controller.execution.protocol import Execution
from ci_controller.job_time import OutputTime
from ci_controller.job_writer import JobWriter
from ci_controller.plan import Action, conclude, plan
from ci_controller.policy.limits import NO_BOUNDS, Bounds
from ci_controller.policy.retry import Chance
from ci_controller.policy.verdicts import Observed, Sight, Verdict, has_ended, tells_all
from ci_controller.runtime.protocol import WorkloadKey
from ci_controller.supervision.attempt_watcher import Attention
from ci_controller.supervision.completion import clear, complete, end_anyway, note_cleared, try_again
from ci_controller.supervision.launching import Launch, Launching

log = logging.getLogger(__name__)

LEAVING_SECONDS = 1.0
"""How long what ran a job that has completed may take to go by itself, before it is stopped.

An engine that is busy takes its time to tell; a stop would only give it more to do.
"""
ASK_SECONDS = 0.2
"""How long to wait for the engine to tell of that, before it is asked: what it tells may be lost."""
STALE_SECONDS = 0.05
"""How long to wait before the next look when somebody else has written the row."""


class Supervisor:
    """Drives one attempt of a job until nothing is left to do for it."""

    def __init__(
        self,
        job: Job,
        *,
        writer: JobWriter,
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
        self._completed: Job | None = None
        """The row where it was completed here, after which nobody else writes it."""
        self._writer = writer
        self._execution = execution
        self.runtime_name = execution.runtime_name
        self._terms: tuple[Bounds, Retry | None] | None = None
        self._attention = Attention(execution, watcher)
        self._launch = Launch(writer, execution, self._attention, interval=interval)
        self._interval = interval
        self._grace = grace
        self._chance = chance
        self._booting_since: float | None = None
        self._output = OutputTime()
        self._running: Job | None = None
        """The row as last seen, while the job runs."""
        self._is_starved = False
        self.is_clearing = False
        """Whether the attempt has ended, and only its remains are still to be removed."""

    def wake(self) -> None:
        """Make the supervisor look again soon: something has happened of which no file tells."""
        self._attention.wake()

    async def taken(self) -> int:
        """Return how many bytes the files of an attempt take whose code runs; 0 for one that does not."""
        job = self._running
        return 0 if job is None or self._execution.has_ended(job) else await self._execution.taken(job)

    def end_for_room(self) -> None:
        """Have the attempt end because the disk is full. The row says so only afterwards: there is no room for more."""
        self._is_starved = True
        self.wake()

    async def run(self) -> None:
        """Take step after step until the job rests. Raises JobNotFound where its row goes meanwhile, LeadershipLost."""
        try:
            while not await self._turn():
                pass
        finally:
            self._attention.close()

    async def give_up(self, verdict: Verdict) -> None:
        """End the attempt with `verdict`, after this supervisor has failed; what it left is for the next to remove.

        Raises RuntimeUnavailable, JobNotFound and what else keeps it from being ended.
        """
        job = (await self._writer.repository.get(self._key.job_id)).as_of(self._key.attempt)
        if job.state is not State.COMPLETED:
            await end_anyway(job, verdict, writer=self._writer, execution=self._execution)

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
            await self._attention.wait(STALE_SECONDS)
        except Unavailable as exc:
            log.warning("job %s: %s", self._key.job_id, exc)
            await self._attention.wait(self._interval)
        return False

    async def _step(self, job: Job) -> bool:
        self._attention.watch(job)
        try:
            seen, now = await self._execution.look(job), self._writer.now_of(job)
            seen = self._with_what_is_known_here(seen, now)
            self._note_progress(job, seen)
            self._running = job if job.state is State.RUNNING else None
            if self._is_starved and await self._end_starved(job):
                return False
            bounds, retry = self._terms_of(job)
            action = plan(job, seen, now, bounds=bounds, retry=retry)
            if isinstance(action, steps.Rest | steps.MarkStarting):
                return True  # Completed and cleared; or queued, and so the scheduler's.
            if isinstance(action, steps.Remove):
                self.is_clearing = True
                if await clear(job, self._execution, has_ended=await self._has_gone(job, seen)):
                    await note_cleared(job, self._writer, self._completed)
                return True
            # Where a script has said its end and the engine's word is needed, too, nothing is to keep that back.
            asked = seen.exit is not None and not tells_all(seen.exit)
            with self._execution.letting_go(job) if asked else nullcontext():
                await self._take(action, job)
        except RuntimeUnavailable as exc:
            log.warning("job %s: the engine does not answer: %s", job.id, exc)
            await self._say_unavailable(job, exc)
            await self._attention.wait(self._interval)
        return False

    def _terms_of(self, job: Job) -> tuple[Bounds, Retry | None]:
        """Return what the job has to keep to, and how it is tried again; neither matters once it has completed."""
        if job.state is State.COMPLETED:
            return NO_BOUNDS, None
        if self._terms is None:
            self._terms = self._execution.bounds_of(job), self._execution.retry_of(job)
        return self._terms

    async def _end_starved(self, job: Job) -> bool:
        """End a job that runs and has most of a full disk; return whether it did not end by itself before that."""
        self._is_starved = False
        if job.state is not State.RUNNING or self._execution.has_ended(job):
            return False
        await self._execution.stop(job, 0)
        after = await self._execution.look(job)
        if after.exit is not None and not after.exit.terminated:
            return False
        await self._fail(job, ReasonCode.DISK_FULL, "the disk was full, and this job had taken most of it")
        return True

    async def _has_gone(self, job: Job, seen: Observed) -> bool:
        """Tell whether the engine says that nothing runs any more.

        What has said that its job has ended is let go for that. A job can write what its script writes, and the engine
        tells of other things than an end: a wake-up is only the moment to ask it.
        """
        if seen.sight is not Sight.FINISHED:
            return seen.sight in (Sight.EXITED, Sight.ABSENT)
        clock, told = asyncio.get_running_loop().time, self._attention.was_woken
        until = clock() + LEAVING_SECONDS
        if job.stop_code is None:  # Else it has been waited for already.
            told.clear()
        with self._execution.letting_go(job):
            while clock() < until:
                await self._attention.until(told.is_set, min(ASK_SECONDS, until - clock()))
                told.clear()
                if await self._execution.has_gone(job):
                    return True
        return False

    def _note_progress(self, job: Job, seen: Observed) -> None:
        """Note how far the job that runs has come."""
        if job.state is not State.RUNNING:
            return
        trace = self._writer.timelines.of(job)
        usage = self._attention.usage
        if usage is not None and usage.first_output is not None:
            trace.note(Milestone.FIRST_OUTPUT, usage.first_output)
        elif seen.usage.log_bytes > 0:
            trace.note(Milestone.FIRST_OUTPUT)
        if has_ended(seen):
            trace.note(Milestone.EXIT_SEEN)

    async def _say_unavailable(self, job: Job, exc: RuntimeUnavailable) -> None:
        """A job that waits says what for; one that runs goes on, seen or not."""
        reason = Reason(ReasonCode.ENGINE_UNAVAILABLE, f"the engine does not answer: {exc}")
        if job.state is State.STARTING and job.reason != reason:
            await self._writer.write(job, reason=reason)

    def _with_what_is_known_here(self, seen: Observed, now: datetime) -> Observed:
        """Return what was seen together with what only this supervisor knows, in the job's own time."""
        followed = self._attention.usage
        usage = replace(
            seen.usage,
            last_output=self._output.last(seen.usage.last_output, now, self._writer.clock()),
            workspace_bytes=None if followed is None else followed.workspace_bytes,
        )
        damage = seen.log_damage
        if followed is not None and has_ended(seen):
            followed.guard.look()
            damage = damage or followed.guard.damage
        booting_since = self._first_seen_booting(seen, now)
        return replace(seen, booting_since=booting_since, starts=self._launch.starts, usage=usage, log_damage=damage)

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
                if job.state is State.RUNNING and await self._attention.glance(job):
                    self._row = job
            case steps.MoveOut():
                await self._execution.move_out(job)
                await self._writer.write(job, workload=None, start_way=StartWay.COLD)
            case steps.Adopt():
                log.warning("job %s has begun before, in a past that the database does not know", job.id)
                await self._writer.write(job, state=State.RUNNING, start_time=self._writer.clock(), reason=None)
            case steps.MarkStopping(code):
                await self._mark_stopping(job, code)
            case steps.Stop():
                await self._execution.stop(job, self._grace)
            case steps.Complete() | steps.TryAgain():
                await self._end(job, action)
            case steps.MarkRunning() | steps.OpenGate():
                self._row = await self._launch.take(action, job)
            case steps.Create() | steps.Start() | steps.Discard() | steps.MoveIn() | steps.MoveInRunning():
                await self._bring_up(action, job)

    async def _bring_up(self, action: Launching, job: Job) -> None:
        try:
            self._row = await self._launch.take(action, job)
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
        self._restore_log(job)
        self._attention.stop_following_usage()
        try:
            await self._write_end(job, action)
        except NoRoom as exc:
            # What would make room is removed only after the end is written, which needs room.
            log.error("job %s: %s; its workspace is removed before its end is written", job.id, exc)
            if not await self._execution.make_room(job):
                raise
            await self._write_end(job, action)
        self.is_clearing = True

    async def _write_end(self, job: Job, action: steps.Complete | steps.TryAgain) -> None:
        match action:
            case steps.Complete(verdict):
                self._completed = await complete(job, verdict, writer=self._writer, execution=self._execution)
                self._row = self._completed.as_of(self._key.attempt)
            case steps.TryAgain(verdict, retry):
                await try_again(
                    job, verdict, retry, writer=self._writer, execution=self._execution, chance=self._chance
                )

    def _restore_log(self, job: Job) -> None:
        """Put a log that the job has removed or replaced back in its place."""
        if self._attention.usage is not None:
            try:
                self._attention.usage.guard.restore()
            except OSError as exc:
                log.warning("job %s: the log that it removed cannot be put back: %s", job.id, exc)

    async def _wait_until(self, until: datetime | None, now: datetime) -> None:
        limit = now + timedelta(seconds=self._interval)
        await self._attention.wait(((min(limit, until) if until is not None else limit) - now).total_seconds())
