"""What a job must keep to, what is observed of it, and how it ended according to that. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from ci_common.attempts.parts import StartWay
from ci_common.jobs import STOP_CONCLUSIONS, Conclusion, Job, Reason, ReasonCode
from ci_common.run_directory.exits import ExitRecord
from ci_common.spec import ExecutionPlan

_LAST_OWN_CODE = 128
"""Higher exit codes are those of processes that a signal has ended."""
SIGKILLED = 137
"""The exit code that a shell reports for a process that was killed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a job uses, as last seen."""

    log_bytes: int = 0
    last_output: datetime | None = None
    """When its log last grew, or its code began; None while that is unknown, by the clock where the log is."""
    workspace_bytes: int | None = None
    """As last measured; None if it was not."""
    first_output: float | None = None
    """The uptime in seconds, on this machine, at which the log was first seen to have bytes; None if it was not."""
    disk_bytes: int | None = None
    """What all files of the attempt take on their disk; None unless that was asked for."""


NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What a job must keep to, in seconds and bytes; None is no limit."""

    timeout: float | None = None
    no_output_timeout: float | None = None
    log: int | None = None
    workspace: int | None = None
    memory: int | None = None
    pids: int | None = None
    cpus: float | None = None

    @classmethod
    def of(cls, plan: ExecutionPlan) -> Self:
        """Return the limits that a plan sets."""
        return cls(
            timeout=plan.timeout,
            no_output_timeout=plan.no_output_timeout,
            log=plan.limits.log,
            workspace=plan.limits.workspace,
            memory=plan.limits.memory,
            pids=plan.limits.pids,
            cpus=plan.limits.cpus,
        )

    def exceeded(self, usage: Usage, begun: datetime | None, now: datetime) -> ReasonCode | None:
        """Return why a job that began at `begun` is to be stopped, or None. Of two times, the one that came first."""
        if self.log is not None and usage.log_bytes > self.log:
            return ReasonCode.LOG_LIMIT
        if self.workspace is not None and (usage.workspace_bytes or 0) > self.workspace:
            return ReasonCode.WORKSPACE_LIMIT
        due = self._due(usage, begun)
        return due[1] if due is not None and due[0] <= now else None

    def due(self, usage: Usage, begun: datetime | None) -> datetime | None:
        """Return when the job will have run, or been silent, for too long if nothing changes; None is never."""
        due = self._due(usage, begun)
        return None if due is None else due[0]

    def _due(self, usage: Usage, begun: datetime | None) -> tuple[datetime, ReasonCode] | None:
        moments = []
        if begun is not None and self.timeout is not None:
            moments.append((_later(begun, self.timeout), ReasonCode.DEADLINE_EXCEEDED))
        if usage.last_output is not None and self.no_output_timeout is not None:
            silent_since = max(usage.last_output, begun or usage.last_output)
            moments.append((_later(silent_since, self.no_output_timeout), ReasonCode.NO_OUTPUT))
        return min(moments, default=None)

    def why_stopped(self, code: ReasonCode, usage: Usage, ended: ExitRecord | None) -> str:
        """Return the message for a job that was stopped for `code`; `usage` is that at its end."""
        match code:
            case ReasonCode.DEADLINE_EXCEEDED:
                return f"stopped because it ran for longer than {_seconds(self.timeout)}{self._throttling(ended)}"
            case ReasonCode.NO_OUTPUT:
                return f"stopped because it wrote nothing into its log for {_seconds(self.no_output_timeout)}"
            case ReasonCode.LOG_LIMIT:
                return (
                    f"stopped because its log grew over limits.log, {self.log} bytes; "
                    f"all that it wrote until its end is kept, {usage.log_bytes} bytes"
                )
            case ReasonCode.WORKSPACE_LIMIT:
                measured = "" if usage.workspace_bytes is None else f"; it had at least {usage.workspace_bytes} bytes"
                return f"stopped because its workspace grew over limits.workspace, {self.workspace} bytes{measured}"
            case ReasonCode.SERVICE_FAILED:
                return "stopped because a service did not run any more"
        return "cancelled on request"

    def _throttling(self, ended: ExitRecord | None) -> str:
        if self.cpus is None or ended is None or not ended.throttled_percent:
            return ""
        return f"; limits.cpus, {self.cpus:g}, held it back in {ended.throttled_percent} % of the scheduling periods"

    def why_killed(self) -> str:
        """Return why the kernel killed a process of the job for want of memory."""
        if self.memory is None:
            return (
                "a process of the job was killed for want of memory: it needed more than the jobs that set no "
                "limits.memory may have (CI_DEFAULT_MEMORY), or the machine had none left"
            )
        return f"a process of the job was killed because it needed more than limits.memory, {self.memory} bytes"

    def why_refused(self) -> str:
        """Return why a process of the job could not be started."""
        if self.pids is None:
            return "no further process was allowed; the job sets no limits.pids, so that CI_DEFAULT_PIDS holds"
        return f"limits.pids, {self.pids}, allowed no further process"


NO_LIMITS = JobLimits()


def limits_of(job: Job) -> JobLimits:
    """Return the limits of `job`; none for one without a plan. Raises ValidationError for an invalid plan."""
    return NO_LIMITS if job.plan is None else JobLimits.of(ExecutionPlan.model_validate(job.plan))


def _seconds(limit: float | None) -> str:
    return "its limit" if limit is None else f"{limit:g} s"


def _later(instant: datetime, seconds: float) -> datetime:
    try:
        return instant + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=instant.tzinfo)


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
    awaited_services: tuple[str, ...] = ()
    """The services of the job if it must not begin because they are not ready yet."""
    service_fault: Reason | None = None
    """Why the job cannot be started, or cannot go on: a service has ended, or was not ready in time."""
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
        if job.stop_code is ReasonCode.CANCELLED:
            reason = Reason(ReasonCode.CANCELLED, f"cancelled {job.cancelled_by}")
        if job.stop_code is ReasonCode.SERVICE_FAILED and seen.service_fault is not None:
            reason = seen.service_fault
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
    elif seen.service_fault is not None:
        code, message = ReasonCode.SERVICE_FAILED, f"{message} after {seen.service_fault.message}"
    elif ended.refused_forks:
        code, message = ReasonCode.PIDS_LIMIT, f"{message} after {limits.why_refused()}"
    return Verdict(Conclusion.FAILED, Reason(code, message), ended.code)


def errored(code: ReasonCode, message: str, exit_code: int | None = None) -> Verdict:
    """Return the verdict on a job that we could not run, or lost."""
    return Verdict(Conclusion.ERRORED, Reason(code, message), exit_code)
