"""A job's limits and how much of them it uses: which one it exceeds, when to check again, what to say of it. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from ci_common.jobs import Job, ReasonCode
from ci_common.run_directory.layout import ExitRecord
from ci_common.spec import ExecutionPlan


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
        return "cancelled on request"

    def _throttling(self, ended: ExitRecord | None) -> str:
        if self.cpus is None or ended is None or not ended.throttled_percent:
            return ""
        return f"; limits.cpus, {self.cpus:g}, held it back in {ended.throttled_percent} % of the scheduling periods"

    def why_killed(self) -> str:
        """Return why the kernel killed a process of the job for want of memory."""
        if self.memory is None:
            return "the machine had no memory left for a process of the job"
        return f"a process of the job was killed because it needed more than limits.memory, {self.memory} bytes"

    def why_refused(self) -> str:
        """Return why a process of the job could not be started."""
        if self.pids is None:
            return "the engine allowed no further process"
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
