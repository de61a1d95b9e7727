"""The decision: a job's row, what was observed of it and the time give the one next step. Pure and total.

A supervisor takes the step, observes again and asks again; every step may be repeated. So there is no recovery code: a
controller that starts asks the same question about what its predecessor left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ci_common.jobs import ACTIVE_STATES, Conclusion, Job, Reason, ReasonCode, State
from ci_common.spec import ExecutionPlan, Retry
from ci_controller.policy import NO_LIMITS, JobLimits, Observation, Verdict, WorkloadPhase, errored, judge

BOOT_SECONDS = 60.0
"""How long a started workload may take to reach its gate."""
MAX_STARTS = 3
"""How often a workload that ends before its gate is made again. The job's code never ran in it."""
SETTLE_SECONDS = 0.05
"""How soon to observe a job again whose script has ended while its workload has not."""

Jitter = Callable[[], float]
"""Returns a random number from 0 up to, without, 1."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do for this attempt, ever."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something happens, or until `until`."""

    until: datetime | None = None
    reason: Reason | None = None
    """What the row is to say of it; None leaves the row as it is."""


@dataclass(frozen=True, slots=True)
class MarkStarting:
    """Write that the job takes a slot."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make what the attempt runs in; remove first what ended before its gate."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the workload, which then goes to its gate."""


@dataclass(frozen=True, slots=True)
class MarkRunning:
    """Write that the job runs. Only after that may its gate be opened."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Write that the job runs although its code began earlier: the row is from an older copy of the database."""


@dataclass(frozen=True, slots=True)
class ReleaseGate:
    """Let the job's own code begin."""


@dataclass(frozen=True, slots=True)
class MarkStopping:
    """Write that the job is to be stopped, and why. Only after that may it be signalled."""

    code: ReasonCode


@dataclass(frozen=True, slots=True)
class Stop:
    """Send SIGTERM, and SIGKILL after the grace period."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Collect what the job left, and write how it ended."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Requeue:
    """Collect what the attempt left, write how it ended, and queue the job for its next attempt."""

    verdict: Verdict
    retry: Retry


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the workload of a completed attempt, and all its files but the log."""


Action = (
    Done
    | Wait
    | MarkStarting
    | Prepare
    | Start
    | MarkRunning
    | Adopt
    | ReleaseGate
    | MarkStopping
    | Stop
    | Complete
    | Requeue
    | Remove
)


def plan(
    job: Job, seen: Observation, now: datetime, *, limits: JobLimits = NO_LIMITS, retry: Retry | None = None
) -> Action:
    """Return the next step for `job`, which must keep to `limits`; without `retry` it has one attempt."""
    action = _plan_attempt(job, seen, now, limits, retry)
    return conclude(job, action.verdict, retry) if isinstance(action, Complete) else action


def conclude(job: Job, verdict: Verdict, retry: Retry | None) -> Complete | Requeue:
    """Return what follows an attempt that ended with `verdict`: the end of the job, or another attempt."""
    ran_to_its_end = verdict.reason is not None and verdict.reason.code is ReasonCode.RESTORED
    if retry is not None and not ran_to_its_end and should_retry(job, verdict.conclusion, retry):
        return Requeue(verdict, retry)
    return Complete(verdict)


def retry_of(job: Job) -> Retry | None:
    """Return the job's retry policy, or None for one without a plan. Raises ValidationError for an invalid plan."""
    return None if job.plan is None else ExecutionPlan.model_validate(job.plan).retry


def should_retry(job: Job, conclusion: Conclusion, retry: Retry) -> bool:
    """Return whether another attempt follows if the present one, which holds a slot, ends with `conclusion`."""
    asked_for = conclusion in retry.on and job.attempt < job.max_attempts
    return asked_for and job.state in ACTIVE_STATES and job.cancel_requested_time is None


def pause_after(attempt: int, retry: Retry, jitter: Jitter) -> timedelta:
    """Return how long to wait between the end of `attempt` and the next one.

    At least half of what the policy says, so that what failed has time to recover. The rest is random, so that jobs
    that failed together do not come back together.
    """
    return timedelta(seconds=retry.longest_pause(attempt) * (1 + jitter()) / 2)


def backs_off_until(job: Job, now: datetime, retry: Retry | None) -> datetime | None:
    """Return until when a queued job backs off, or None if it does not (any more).

    A clock that was set back must not make it wait for longer than its policy can have said.
    """
    if job.not_before is None or job.not_before <= now:
        return None
    was_set_back = retry and (job.not_before - now).total_seconds() > retry.longest_pause(job.attempt - 1)
    return None if was_set_back else job.not_before


def _plan_attempt(job: Job, seen: Observation, now: datetime, limits: JobLimits, retry: Retry | None) -> Action:
    match job.state:
        case State.COMPLETED:
            return Done() if seen.phase is WorkloadPhase.ABSENT and seen.cleaned else Remove()
        case State.QUEUED:
            return _plan_queued(job, now, retry)
        case State.STARTING:
            return _plan_starting(job, seen, now)
        case State.RUNNING:
            return _plan_running(job, seen, now, limits)


def _plan_queued(job: Job, now: datetime, retry: Retry | None) -> Action:
    if job.cancel_requested_time is not None:
        return Complete(_cancelled(job))
    until = backs_off_until(job, now, retry)
    return MarkStarting() if until is None else Wait(until)


def _cancelled(job: Job) -> Verdict:
    what = "it" if job.attempt == 1 else f"attempt {job.attempt} of {job.max_attempts}"
    return Verdict(
        Conclusion.CANCELLED, Reason(ReasonCode.CANCELLED, f"cancelled {job.cancelled_by} before {what} started")
    )


def _plan_starting(job: Job, seen: Observation, now: datetime) -> Action:
    if _has_begun(seen) or seen.phase in (WorkloadPhase.RUNNING, WorkloadPhase.FINISHED):
        return Adopt()
    if job.cancel_requested_time is not None:
        return Complete(_cancelled(job))
    if seen.service_fault is not None:
        return Complete(errored(seen.service_fault.code, seen.service_fault.message))
    match seen.phase:
        case WorkloadPhase.ABSENT:
            return Prepare()
        case WorkloadPhase.CREATED:
            return Start()
        case WorkloadPhase.AT_GATE:
            return Wait(reason=_why_it_awaits(seen.awaited_services)) if seen.awaited_services else MarkRunning()
        case WorkloadPhase.BOOTING:
            return _plan_booting(seen, now)
        case WorkloadPhase.EXITED:
            if seen.starts < MAX_STARTS:
                return Prepare()
            return Complete(
                errored(
                    ReasonCode.START_FAILED,
                    f"the job's script ended {MAX_STARTS} times before its gate, "
                    f"the last time with exit code {seen.workload_exit_code}; is the image's /bin/sh a POSIX shell?",
                )
            )


def _why_it_awaits(services: tuple[str, ...]) -> Reason:
    what = f"the service {services[0]}" if len(services) == 1 else f"the services {', '.join(services)}"
    return Reason(ReasonCode.WAITING_FOR_SERVICES, f"waiting until {what} can be used")


def _plan_booting(seen: Observation, now: datetime) -> Action:
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


def _has_begun(seen: Observation) -> bool:
    """Return whether this attempt's code may have run. The gate opens only for RUNNING, so such a row is too old."""
    return seen.started or seen.exit is not None or seen.finished


def _plan_running(job: Job, seen: Observation, now: datetime, limits: JobLimits) -> Action:
    if seen.phase in (WorkloadPhase.FINISHED, WorkloadPhase.EXITED, WorkloadPhase.ABSENT, WorkloadPhase.CREATED):
        return Complete(judge(job, seen, limits))
    exceeded = limits.exceeded(seen.usage, job.start_time, now)
    if seen.exit is not None:
        # Its code has ended, according to a file that the job can write itself. That postpones no stop.
        is_stopped = job.stop_code is not None or job.cancel_requested_time is not None or exceeded is not None
        return Stop() if is_stopped else Wait(now + timedelta(seconds=SETTLE_SECONDS))
    if job.stop_code is not None:
        return Stop()
    if job.cancel_requested_time is not None:
        return MarkStopping(ReasonCode.CANCELLED)
    if exceeded is not None:
        return MarkStopping(exceeded)
    if seen.service_fault is not None:
        return MarkStopping(ReasonCode.SERVICE_FAILED)
    if seen.phase in (WorkloadPhase.AT_GATE, WorkloadPhase.BOOTING):
        return ReleaseGate()
    due = limits.due(seen.usage, job.start_time)
    return Wait(min((t for t in (due, seen.ends_at) if t is not None), default=None))
