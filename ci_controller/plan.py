"""The decision: one job, what was seen of it, and the time, give the one next step. Pure and total.

Whoever takes the step looks again afterwards and asks again; every step may be repeated. So there is no recovery code:
a controller that starts asks the same question about whatever its predecessor left.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ci_common.jobs import STOP_CONCLUSIONS, Conclusion, Job, Reason, ReasonCode, State
from ci_common.layout import ExitRecord

BOOT_SECONDS = 60.0
"""How long a started workload may take to its gate."""
MAX_STARTS = 3
"""How often a workload that ends before its gate is started anew; its code never ran."""
SETTLE_SECONDS = 0.05
"""How soon to look again at a job whose script has ended and whose workload has not."""


class Sight(StrEnum):
    """What a look at the engine and the run directory shows of a job."""

    ABSENT = "absent"
    CREATED = "created"
    BOOTING = "booting"
    """Started, and not at its gate yet."""
    AT_GATE = "at_gate"
    RUNNING = "running"
    """Through the gate: the job's own code may have run."""
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at a job."""

    sight: Sight
    exit: ExitRecord | None = None
    """What the script wrote at its end."""
    started: bool = False
    """Whether the gate has opened."""
    workload_exit_code: int | None = None
    """How the workload's first process ended, as the engine states it."""
    out_of_memory: bool = False
    disk_full: bool = False
    """Whether the disk that holds the run directory has no room left."""
    booting_since: datetime | None = None
    """When this controller first saw the workload BOOTING."""
    starts: int = 0
    """How often this controller has started the workload."""
    over_at: datetime | None = None
    """When the job will end by itself, where that is known (built-in types)."""
    cleared: bool = True
    """Whether nothing but the log is left of a completed job's files."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job ends."""

    conclusion: Conclusion
    reason: Reason | None
    exit_code: int | None = None


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
class MarkRunning:
    """Write that the job runs; only then may its gate be opened."""


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
    | MarkRunning
    | OpenGate
    | MarkStopping
    | Stop
    | Complete
    | Discard
    | Remove
)

_CANCELLED = Verdict(Conclusion.CANCELLED, Reason(ReasonCode.CANCELLED, "cancelled on request before it started"))


def plan(job: Job, seen: Observed, now: datetime, *, timeout: float | None = None) -> Action:
    """Return the next step for `job`. `timeout` is its plan's, in seconds from its start; None is none."""
    match job.state:
        case State.COMPLETED:
            return Rest() if seen.sight is Sight.ABSENT and seen.cleared else Remove()
        case State.QUEUED:
            return _plan_queued(job, now)
        case State.STARTING:
            return _plan_starting(job, seen, now)
        case State.RUNNING:
            return _plan_running(job, seen, now, timeout)


def _plan_queued(job: Job, now: datetime) -> Action:
    if job.cancel_requested_time is not None:
        return Complete(_CANCELLED)
    if job.not_before is not None and job.not_before > now:
        return Wait(job.not_before)
    return MarkStarting()


def _plan_starting(job: Job, seen: Observed, now: datetime) -> Action:
    if seen.started or seen.exit is not None:
        return MarkRunning()  # The row is older than what happened: its code has run, and must not run again.
    if job.cancel_requested_time is not None:
        return Complete(_CANCELLED)
    match seen.sight:
        case Sight.ABSENT:
            return Create()
        case Sight.CREATED:
            return Start()
        case Sight.AT_GATE | Sight.RUNNING:
            return MarkRunning()
        case Sight.BOOTING:
            begun = seen.booting_since or now
            if (now - begun).total_seconds() < BOOT_SECONDS:
                return Wait(begun + timedelta(seconds=BOOT_SECONDS))
            return Complete(
                _errored(
                    ReasonCode.START_FAILED,
                    f"the job's script did not reach its gate within {BOOT_SECONDS:.0f} s; "
                    "the engine must share the data directory's file system and kernel with the controller",
                )
            )
        case Sight.EXITED:
            if seen.starts < MAX_STARTS:
                return Discard()
            return Complete(
                _errored(
                    ReasonCode.START_FAILED,
                    f"the job's script ended {MAX_STARTS} times before its gate, "
                    f"the last time with exit code {seen.workload_exit_code}; is the image's /bin/sh a POSIX shell?",
                )
            )


def _plan_running(job: Job, seen: Observed, now: datetime, timeout: float | None) -> Action:
    if seen.sight in (Sight.EXITED, Sight.ABSENT):
        return Complete(judge(job, seen, timeout))
    if seen.exit is not None:
        return Wait(now + timedelta(seconds=SETTLE_SECONDS))
    if job.stop_code is not None:
        return Stop()
    if job.cancel_requested_time is not None:
        return MarkStopping(ReasonCode.CANCELLED)
    deadline = job.start_time + timedelta(seconds=timeout) if timeout is not None and job.start_time else None
    if deadline is not None and now >= deadline:
        return MarkStopping(ReasonCode.DEADLINE_EXCEEDED)
    if seen.sight in (Sight.AT_GATE, Sight.BOOTING):
        return OpenGate()
    return Wait(min((t for t in (deadline, seen.over_at) if t is not None), default=None))


def judge(job: Job, seen: Observed, timeout: float | None = None) -> Verdict:
    """Return how a job ended whose workload has exited or is gone.

    What the script wrote at its end counts first; a stop counts only if it reached the script before that.
    """
    ended = seen.exit
    if ended is not None and not (job.stop_code and ended.terminated):
        if ended.code == 0:
            return Verdict(Conclusion.SUCCEEDED, None, 0)
        if seen.out_of_memory and ended.code == 137:
            return _errored(ReasonCode.OUT_OF_MEMORY, "a process of the job needed more memory than it may use", 137)
        message = f"the job's command ended with exit code {ended.code}"
        return Verdict(Conclusion.FAILED, Reason(ReasonCode.EXIT_CODE, message), ended.code)
    if job.stop_code is not None:
        own_code = ended.code if ended else seen.workload_exit_code if seen.started else None
        return Verdict(STOP_CONCLUSIONS[job.stop_code], _stop_reason(job.stop_code, timeout), own_code)
    if seen.out_of_memory:
        return _errored(ReasonCode.OUT_OF_MEMORY, "the job needed more memory than it may use")
    if seen.disk_full:
        return _errored(ReasonCode.DISK_FULL, "the disk was full, so the job's end could not be written down")
    if seen.sight is Sight.ABSENT:
        return _errored(ReasonCode.CONTAINER_LOST, "what ran the job was removed from outside before the job ended")
    return _errored(
        ReasonCode.CONTAINER_LOST,
        f"what ran the job was ended from outside (exit code {seen.workload_exit_code}) before the job ended",
    )


def _stop_reason(code: ReasonCode, timeout: float | None) -> Reason:
    if code is ReasonCode.DEADLINE_EXCEEDED:
        return Reason(code, f"stopped because it ran for longer than {timeout:g} s")
    return Reason(code, "cancelled on request")


def _errored(code: ReasonCode, message: str, exit_code: int | None = None) -> Verdict:
    return Verdict(Conclusion.ERRORED, Reason(code, message), exit_code)
