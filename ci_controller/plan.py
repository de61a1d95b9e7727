"""The decision: one job, what was seen of it, and the time, give the one next step. Pure and total.

Whoever takes the step looks again afterwards and asks again; every step may be repeated. So there is no recovery code:
a controller that starts asks the same question about whatever its predecessor left.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, State
from ci_common.spec import Retry
from ci_controller.policy.limits import NO_BOUNDS, Bounds
from ci_controller.policy.retry import is_tried_again, waits_until
from ci_controller.policy.verdicts import Observed, Sight, Verdict, errored, judge

BOOT_SECONDS = 60.0
"""How long a started workload may take to its gate."""
MAX_STARTS = 3
"""How often a workload that ends before its gate is started anew; its code never ran."""
SETTLE_SECONDS = 0.05
"""How soon to look again at a job whose script has ended and whose workload has not."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is left to do for this job, ever."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something happens, or until `until`."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class MarkStarting:
    """Write that the job takes a slot."""


@dataclass(frozen=True, slots=True)
class Create:
    """Prepare the run directory and create the workload."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the workload, which then goes to its gate."""


@dataclass(frozen=True, slots=True)
class MoveIn:
    """Make the waiting workload that the job took its own."""


@dataclass(frozen=True, slots=True)
class MoveInRunning:
    """Do that while it is written that the job runs; only after both may its gate be opened."""


@dataclass(frozen=True, slots=True)
class MoveOut:
    """Give up the waiting workload that the job took, which is gone, so that the next look creates another."""


@dataclass(frozen=True, slots=True)
class MarkRunning:
    """Write that the job runs; only then may its gate be opened."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Write that the job runs, though its code began before: the row is of an older copy of the database."""


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Let the job's own code begin."""


@dataclass(frozen=True, slots=True)
class MarkStopping:
    """Write that and why the job is to be stopped; only then may it be signalled."""

    code: ReasonCode


@dataclass(frozen=True, slots=True)
class Stop:
    """Send SIGTERM, and SIGKILL after the grace period."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Collect what the job left, and write how it ended."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Collect what the attempt left, write how it ended, and queue the job again for its next attempt."""

    verdict: Verdict
    retry: Retry


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove a workload that ended before its gate, so that the next look starts another."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the workload of a completed job, and all files but its log."""


Action = (
    Rest
    | Wait
    | MarkStarting
    | Create
    | Start
    | MoveIn
    | MoveInRunning
    | MoveOut
    | MarkRunning
    | Adopt
    | OpenGate
    | MarkStopping
    | Stop
    | Complete
    | TryAgain
    | Discard
    | Remove
)


def plan(job: Job, seen: Observed, now: datetime, *, bounds: Bounds = NO_BOUNDS, retry: Retry | None = None) -> Action:
    """Return the next step for `job`, which has to keep to `bounds` and is tried again as `retry` says; None: never."""
    action = _plan_once(job, seen, now, bounds, retry)
    return conclude(job, action.verdict, retry) if isinstance(action, Complete) else action


def conclude(job: Job, verdict: Verdict, retry: Retry | None) -> Complete | TryAgain:
    """Return what follows where an attempt ends so: the job ends, or its retry policy gives it another attempt."""
    ran_to_its_end = verdict.reason is not None and verdict.reason.code is ReasonCode.RESTORED
    if retry is not None and not ran_to_its_end and is_tried_again(job, verdict.conclusion, retry):
        return TryAgain(verdict, retry)
    return Complete(verdict)


def _plan_once(job: Job, seen: Observed, now: datetime, bounds: Bounds, retry: Retry | None) -> Action:
    match job.state:
        case State.COMPLETED:
            return Rest() if seen.sight is Sight.ABSENT and seen.cleared else Remove()
        case State.QUEUED:
            return _plan_queued(job, now, retry)
        case State.STARTING:
            return _plan_starting(job, seen, now)
        case State.RUNNING:
            return _plan_running(job, seen, now, bounds)


def _plan_queued(job: Job, now: datetime, retry: Retry | None) -> Action:
    if job.cancel_requested_time is not None:
        return Complete(_cancelled(job))
    until = waits_until(job, now, retry)
    return MarkStarting() if until is None else Wait(until)


def _cancelled(job: Job) -> Verdict:
    what = "it" if job.attempt == 1 else f"attempt {job.attempt} of {job.max_attempts}"
    return Verdict(Conclusion.CANCELLED, Reason(ReasonCode.CANCELLED, f"cancelled on request before {what} started"))


def _plan_starting(job: Job, seen: Observed, now: datetime) -> Action:
    if _has_begun(seen) or seen.sight in (Sight.RUNNING, Sight.FINISHED):
        return Adopt()
    if job.cancel_requested_time is not None:
        return Complete(_cancelled(job))
    match seen.sight:
        case Sight.ABSENT:
            return Create() if job.workload is None else MoveOut()
        case Sight.CREATED:
            return Start()
        case Sight.POOLED:
            return MoveInRunning() if seen.ready else MoveIn()
        case Sight.AT_GATE:
            return MarkRunning()
        case Sight.BOOTING:
            return _plan_booting(seen, now)
        case Sight.EXITED:
            if seen.starts < MAX_STARTS:
                return Discard()
            return Complete(
                errored(
                    ReasonCode.START_FAILED,
                    f"the job's script ended {MAX_STARTS} times before its gate, "
                    f"the last time with exit code {seen.workload_exit_code}; is the image's /bin/sh a POSIX shell?",
                )
            )


def _plan_booting(seen: Observed, now: datetime) -> Action:
    begun = seen.booting_since or now
    if (now - begun).total_seconds() < BOOT_SECONDS:
        return Wait(begun + timedelta(seconds=BOOT_SECONDS))
    return Complete(
        errored(
            ReasonCode.START_FAILED,
            f"the job's script did not reach its gate within {BOOT_SECONDS:.0f} s; "
            "the engine must share the data directory's file system and kernel with the controller",
        )
    )


def _has_begun(seen: Observed) -> bool:
    """Tell whether this attempt's code may have run already. The gate opens only for RUNNING, so the row is too old."""
    return seen.started or seen.exit is not None or seen.spent


def _plan_running(job: Job, seen: Observed, now: datetime, bounds: Bounds) -> Action:
    if seen.sight in (Sight.FINISHED, Sight.EXITED, Sight.ABSENT, Sight.CREATED):
        return Complete(judge(job, seen, bounds))
    exceeded = bounds.exceeded(seen.usage, job.start_time, now)
    if seen.exit is not None:
        # Its code has ended, by what a file says that the job can write itself. That puts off no stop.
        is_stopped = job.stop_code is not None or job.cancel_requested_time is not None or exceeded is not None
        return Stop() if is_stopped else Wait(now + timedelta(seconds=SETTLE_SECONDS))
    if job.stop_code is not None:
        return Stop()
    if job.cancel_requested_time is not None:
        return MarkStopping(ReasonCode.CANCELLED)
    if exceeded is not None:
        return MarkStopping(exceeded)
    if seen.sight is Sight.POOLED:
        return MoveIn()
    if seen.sight in (Sight.AT_GATE, Sight.BOOTING):
        return OpenGate()
    due = bounds.due(seen.usage, job.start_time)
    return Wait(min((t for t in (due, seen.over_at) if t is not None), default=None))
