"""What is observed of a job, and how a job ended of which that was observed. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ci_common.jobs import STOP_CONCLUSIONS, Conclusion, Job, Reason, ReasonCode, StartWay
from ci_common.run_directory.layout import ExitRecord
from ci_controller.policy.limits import NO_LIMITS, NOTHING_USED, JobLimits, Usage

_LAST_OWN_CODE = 128
"""Higher exit codes are those of processes that a signal has ended."""
SIGKILLED = 137
"""The exit code that a shell reports for a process that was killed."""


class WorkloadPhase(StrEnum):
    """How far what runs an attempt has come. What runs it may be a container, a process group or a program elsewhere.

    An engine by itself knows only ABSENT, CREATED, RUNNING and EXITED; the others follow from the run directory.
    """

    ABSENT = "absent"
    """There is none: what could see it says so. Never stands for "it cannot be seen"."""
    CREATED = "created"
    """It exists and was never started."""
    BOOTING = "booting"
    """Started, and not at its gate yet."""
    AT_GATE = "at_gate"
    """It waits at its gate, and belongs to the attempt."""
    RUNNING = "running"
    """Through the gate: the job's own code may have run."""
    FINISHED = "finished"
    """The script has ended as the last of the job's processes, and has written all that the verdict depends on. Whether
    the workload still exists was not asked."""
    EXITED = "exited"
    """Nothing of it runs any more."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one attempt at one moment. Times are those of the clock where the attempt runs."""

    phase: WorkloadPhase
    exit: ExitRecord | None = None
    """What the script wrote at its end; None before that."""
    started: bool = False
    """Whether the gate has opened, so that the job's own code may have run."""
    finished: bool = False
    """Whether what is left shows that the attempt has completed and has been cleaned up before."""
    start_way: StartWay = StartWay.COLD
    """WARM if the attempt took something that was waiting for a job, else COLD."""
    workload_exit_code: int | None = None
    """How the workload's first process ended, according to the engine; None unless that is known."""
    out_of_memory: bool = False
    """The engine says that a process of the job was killed for want of memory, at whatever time."""
    usage: Usage = NOTHING_USED
    disk_full: bool = False
    """Whether the disk that holds the run directory is full."""
    ends_at: datetime | None = None
    """When the job will end by itself, where that is known (computed types)."""
    log_damage: str | None = None
    """What the job has done to its log or to the record of its steps; None if nothing shows that."""
    cleaned: bool = True
    """Whether nothing but the log is left of a completed attempt's files."""
    booting_since: datetime | None = None
    """When this controller first saw the workload BOOTING. Filled in by the supervisor."""
    starts: int = 0
    """How often this controller has started the workload. Filled in by the supervisor."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job ends."""

    conclusion: Conclusion
    reason: Reason | None
    exit_code: int | None = None


def has_ended(seen: Observation) -> bool:
    """Return whether the job's own code is known to have ended."""
    return seen.exit is not None or seen.phase is WorkloadPhase.EXITED


def tells_all(ended: ExitRecord) -> bool:
    """Return whether the engine has nothing to add to a record: nothing writes any more, and the cause is known."""
    return ended.last and (ended.code == 0 or ended.oom_kills is not None)


def judge(job: Job, seen: Observation, limits: JobLimits = NO_LIMITS) -> Verdict:
    """Return how a job ended whose workload has exited or is gone.

    What the script wrote at its end counts first; a stop counts only if it reached the script before that.
    """
    ended = seen.exit
    if ended is not None and not (job.stop_code and ended.terminated):
        return _judge_own_end(ended, seen, limits)
    if job.stop_code is not None:
        own_code = ended.code if ended else seen.workload_exit_code if seen.started else None
        reason = Reason(job.stop_code, limits.why_stopped(job.stop_code, seen.usage, ended))
        return Verdict(STOP_CONCLUSIONS[job.stop_code], reason, own_code)
    if seen.out_of_memory:
        return errored(ReasonCode.OUT_OF_MEMORY, limits.why_killed())
    if seen.disk_full:
        return errored(ReasonCode.DISK_FULL, "the disk was full, so the job's end could not be written down")
    if seen.finished and not seen.started:
        return errored(
            ReasonCode.RESTORED,
            "the job ran to its end, and the database is an older copy that does not know how it ended; it is not run "
            "again by itself",
        )
    if seen.started and seen.workload_exit_code is not None and seen.workload_exit_code <= _LAST_OWN_CODE:
        return errored(
            ReasonCode.LOG_DAMAGED,
            f"the job's script ended with exit code {seen.workload_exit_code} and could not write that down: the job "
            "has removed or replaced files in its run directory; leave those alone",
            seen.workload_exit_code,
        )
    if seen.phase in (WorkloadPhase.ABSENT, WorkloadPhase.CREATED):
        return errored(ReasonCode.CONTAINER_LOST, "what ran the job was removed from outside before the job ended")
    return errored(
        ReasonCode.CONTAINER_LOST,
        f"what ran the job was ended from outside (exit code {seen.workload_exit_code}) before the job ended",
    )


def _judge_own_end(ended: ExitRecord, seen: Observation, limits: JobLimits) -> Verdict:
    """A job that coped with what the kernel refused it has succeeded; of a failed one, the reason names what that was.

    The script's own count is of the step that failed; the engine's word, of any time, counts where that is missing.
    """
    if seen.log_damage is not None:
        return errored(ReasonCode.LOG_DAMAGED, seen.log_damage, ended.code)
    if ended.code == 0:
        return Verdict(Conclusion.SUCCEEDED, None, 0)
    killed = seen.out_of_memory if ended.oom_kills is None else ended.oom_kills > 0
    if killed and ended.code == SIGKILLED:
        return errored(ReasonCode.OUT_OF_MEMORY, limits.why_killed(), ended.code)
    code, message = ReasonCode.EXIT_CODE, f"the job's command ended with exit code {ended.code}"
    if ended.killed:
        message = (
            f"the shell that runs the job's steps was ended by signal {ended.code - 128}, as `kill -9 0` and "
            "`kill -9 $PPID` in a step do, or from outside"
        )
    if killed:
        code, message = ReasonCode.OUT_OF_MEMORY, f"{message} after {limits.why_killed()}"
    elif ended.refused_forks:
        code, message = ReasonCode.PIDS_LIMIT, f"{message} after {limits.why_refused()}"
    return Verdict(Conclusion.FAILED, Reason(code, message), ended.code)


def errored(code: ReasonCode, message: str, exit_code: int | None = None) -> Verdict:
    """Return the verdict on a job that we could not run, or lost."""
    return Verdict(Conclusion.ERRORED, Reason(code, message), exit_code)
