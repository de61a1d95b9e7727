"""A small world for `plan` to act in: one job's row, its engine and run directories, and a controller that may fail.

What a controller does is a list of effects, as in the real one. It may die between any two of them, or be stopped in
front of one and carry that out much later, when another controller has long gone on: the check that it still leads
comes before the effect, and cannot be part of it. Whoever gives `plan` another action adds its effects to `_effects`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.run_directory.layout import ExitRecord
from ci_common.spec import Retry
from ci_controller.plan import (
    Action,
    Adopt,
    Complete,
    Done,
    MarkRunning,
    MarkStarting,
    MarkStopping,
    Prepare,
    ReleaseGate,
    Remove,
    Requeue,
    Start,
    Stop,
    plan,
)
from ci_controller.policy.limits import JobLimits
from ci_controller.policy.verdicts import Observation, Verdict, WorkloadPhase
from tests.helpers.world_runs import Run, Workload, end, phase_of

T0 = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(seconds=5)
Effect = Callable[[], bool]
"""Does something that lasts; False where a row's version forbade it, after which a controller looks again."""


@dataclass
class World:
    """See the module. `code` is how the job's own code ends; None where it never does by itself."""

    code: int | None
    retry: Retry
    limits: JobLimits = field(default_factory=lambda: JobLimits(timeout=100.0))
    now: datetime = T0
    waiting: int = 0
    """How many workloads wait in the pool."""
    row: Job = field(init=False)
    runs: dict[int, Run] = field(default_factory=lambda: {1: Run()})
    code_starts: Counter[int] = field(default_factory=Counter)
    late: list[Effect] = field(default_factory=list)
    """What controllers that were stopped will still do."""
    _starts: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.row = Job(id="j", type="container", submit_time=T0, max_attempts=self.retry.max_attempts)

    # What happens by itself, or from outside.

    def cancel(self) -> None:
        if self.row.state is not State.COMPLETED and self.row.cancel_requested_time is None:
            self.row = replace(self.row, cancel_requested_time=self.now)

    def lose_workload(self, attempt: int, *, removed: bool) -> None:
        run = self.runs[attempt]
        if run.claimed is not None and run.workload is None:
            end(run.claimed, 137)
        if run.workload is not None and run.workload.phase is not WorkloadPhase.EXITED:
            run.lost = True
            end(run.workload, 137)
        if removed:
            run.workload = None

    def wait(self, time: timedelta) -> None:
        self.now += time

    def progress(self) -> None:
        """Let every script go as far as it can."""
        for attempt, run in self.runs.items():
            if run.workload is not None:
                self._progress(attempt, run, run.workload)

    def _progress(self, attempt: int, run: Run, workload: Workload) -> None:
        if workload.phase is WorkloadPhase.BOOTING:
            if run.started or run.exit is not None:
                end(workload, 1)
            else:
                run.waiting, workload.phase = object(), WorkloadPhase.AT_GATE
        elif workload.phase is WorkloadPhase.RUNNING and run.exit is not None:
            end(workload, run.exit.code)
        elif workload.phase is WorkloadPhase.RUNNING and (self.code is not None or workload.told_to_end):
            code = 143 if self.code is None else self.code
            run.exit = ExitRecord(code, terminated=workload.told_to_end, oom_kills=0, last=True)

    # What a controller does.

    def turn(self, *, fails_at: int | None = None, goes_on_later: bool = False) -> bool:
        """Look at every attempt and take its next step; return whether nothing is left to do.

        With `fails_at` the controller carries out that many effects and is no more, and another one comes in its
        place; with `goes_on_later` it is only stopped, and does the next effect some time.
        """
        resting = True
        for attempt in sorted(self.runs):
            job = self.row.as_of(attempt)
            action = plan(job, self._look(attempt, job), self.now, limits=self.limits, retry=self.retry)
            resting = resting and isinstance(action, Done)
            for effect in self._effects(action, attempt, job):
                if fails_at == 0:
                    self._starts.clear()
                    if goes_on_later:
                        self.late.append(effect)
                    return False
                fails_at = None if fails_at is None else fails_at - 1
                if not effect():
                    break
        return resting

    def do_late(self) -> None:
        """Let a controller go on that was stopped; what comes after that effect it does not do, being no leader."""
        self.late.pop(0)()

    def _look(self, attempt: int, job: Job) -> Observation:
        run = self.runs[attempt]
        return Observation(
            phase_of(run, job),
            exit=run.exit,
            started=run.started,
            workload_exit_code=run.workload.exit_code if run.workload else None,
            booting_since=self.now,
            starts=self._starts[attempt],
            cleaned=job.state is not State.COMPLETED or not (run.files or run.claimed),
        )

    def _effects(self, action: Action, attempt: int, job: Job) -> list[Effect]:
        return self._writes(action, attempt, job) or self._acts(action, attempt)

    def _writes(self, action: Action, attempt: int, job: Job) -> list[Effect]:
        """Return the effects of an action that begins with a write to the row."""
        match action:
            case MarkStarting():
                return [partial(self._write, job, state=State.STARTING)]
            case MarkRunning():
                begin = partial(self._write, job, state=State.RUNNING, start_time=self.now)
                return [begin, partial(self._open_gate, attempt)]
            case Adopt():
                return [partial(self._write, job, state=State.RUNNING, start_time=self.now)]
            case MarkStopping(code):
                return [partial(self._write, job, stop_code=code)]
            case Complete(verdict):
                end = {"conclusion": verdict.conclusion, "reason": verdict.reason, "exit_code": verdict.exit_code}
                return [partial(self._write, job, state=State.COMPLETED, end_time=self.now, **end)]
            case Requeue(verdict, retry):
                return [partial(self._requeue, job, verdict, retry)]
        return []

    def _acts(self, action: Action, attempt: int) -> list[Effect]:
        """Return the effects of an action on the workload and its files."""
        run = self.runs[attempt]
        match action:
            case Prepare():
                return self._preparations(run)
            case Start():
                return [partial(self._start, attempt)]
            case ReleaseGate():
                return [partial(self._open_gate, attempt)]
            case Stop():
                return [partial(self._stop, run)]
            case Remove():
                return [partial(self._stop, run), partial(self._clear, run), partial(self._remove, run)]
        return []

    def _preparations(self, run: Run) -> list[Effect]:
        """Return the effects of `prepare`: something that waits is claimed and moved, or else a workload is made."""
        alone = [partial(self._discard, run, run.workload, run.waiting), partial(self._prepare, run)]
        alone.append(partial(self._create, run))
        if run.files:
            return alone
        if run.claimed is not None and run.claimed.phase is WorkloadPhase.EXITED:
            return [partial(self._release, run, run.claimed), *alone]
        if run.claimed is not None or self.waiting:
            return [partial(self._claim, run), partial(self._move_in, run)]
        return alone

    def _write(self, seen: Job, **changes: Any) -> bool:
        if seen.version != self.row.version or seen.attempt != self.row.attempt:
            return False
        self.row = replace(
            seen.with_changes(**changes),
            version=seen.version + 1,
            cancel_requested_time=self.row.cancel_requested_time,
        )
        return True

    def _requeue(self, seen: Job, verdict: Verdict, retry: Retry) -> bool:
        ended = Attempt(
            number=seen.attempt,
            conclusion=verdict.conclusion,
            end_time=self.now,
            reason=verdict.reason,
            exit_code=verdict.exit_code,
            start_time=seen.start_time,
        )
        done = self._write(
            seen,
            state=State.QUEUED,
            attempt=seen.attempt + 1,
            earlier_attempts=(*seen.earlier_attempts, ended),
            not_before=self.now + timedelta(seconds=retry.longest_pause(seen.attempt)),
            start_time=None,
            stop_code=None,
        )
        if done:
            self.runs[self.row.attempt] = Run()
        return done

    def _claim(self, run: Run) -> bool:
        """Whatever the caller has seen before: of what waits, each is claimed once."""
        if run.claimed is None and self.waiting:
            self.waiting -= 1
            run.claimed = Workload(WorkloadPhase.AT_GATE)
        return True

    def _move_in(self, run: Run) -> bool:
        """One name for the other: it fails where something is in the way, or nothing is there to be moved."""
        if run.claimed is not None and not run.files:
            run.workload, run.claimed = run.claimed, None
            run.files, run.waiting = True, object()
        return True

    def _release(self, run: Run, claimed: Workload) -> bool:
        if run.claimed is claimed:
            run.claimed = None
        return True

    def _prepare(self, run: Run) -> bool:
        run.files = True
        return True

    def _create(self, run: Run) -> bool:
        run.workload = run.workload or Workload()
        return True

    def _start(self, attempt: int) -> bool:
        """As an engine does it: what has exited is run again."""
        workload = self.runs[attempt].workload
        if workload is not None and workload.phase in (WorkloadPhase.CREATED, WorkloadPhase.EXITED):
            workload.phase, workload.exit_code, workload.told_to_end = WorkloadPhase.BOOTING, None, False
            self._starts[attempt] += 1
        return True

    def _open_gate(self, attempt: int) -> bool:
        run = self.runs[attempt]
        if run.files and run.workload is not None and run.workload.phase is WorkloadPhase.AT_GATE:
            if run.started:
                end(run.workload, 1)
                return True
            assert self.row.attempt > attempt or self.row.state in (State.RUNNING, State.COMPLETED), "persist, then act"
            run.started, run.workload.phase = True, WorkloadPhase.RUNNING
            self.code_starts[attempt] += 1
        return True

    def _stop(self, run: Run) -> bool:
        if run.workload is not None and run.workload.phase is WorkloadPhase.RUNNING:
            run.workload.told_to_end = True
        elif run.workload is not None and run.workload.phase in (WorkloadPhase.BOOTING, WorkloadPhase.AT_GATE):
            end(run.workload, 143)
        return True

    def _discard(self, run: Run, workload: Workload | None, waiting: object | None) -> bool:
        if workload is not None and run.workload is workload and workload.phase is WorkloadPhase.EXITED:
            run.workload = None
        if run.waiting is waiting:
            run.waiting = None
        return True

    def _clear(self, run: Run) -> bool:
        run.files = run.started = False
        run.claimed = None
        run.waiting = run.exit = None
        return True

    def _remove(self, run: Run) -> bool:
        run.workload = None
        return True


def conclusions(job: Job) -> dict[int, Conclusion | None]:
    """Return how each attempt of a job ended."""
    return {number: job.as_of(number).conclusion for number in range(1, job.attempt + 1)}
