"""What goes over HTTP besides `Spec`: requests, the job as users see it, and the events of its stream."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ci_common.events import COMPLETE, STATUS, Event
from ci_common.jobs import Conclusion, Job, State, StepResult
from ci_common.quantities import NonNegativeDuration
from ci_common.retention import LONGEST_AGE
from ci_common.times import to_rfc3339

PROBLEM_MEDIA_TYPE = "application/problem+json"


class SleepPayload(BaseModel):
    """The payload of a `sleep` job."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    ms: int = Field(ge=0, le=86_400_000, description="milliseconds")


class BuiltinRequest(BaseModel):
    """The body of `POST /jobs` for the types the controller carries out itself: `echo` and `sleep`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["echo", "sleep"]
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: int = Field(0, ge=-1_000_000, le=1_000_000)
    project: str | None = Field(None, min_length=1, max_length=200)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class CleanupRequest(BaseModel):
    """The body of `POST /jobs/cleanup`: which completed jobs to delete. All conditions have to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    older_than: Annotated[NonNegativeDuration, Field(le=LONGEST_AGE)] | None = None
    """Ended longer ago than so many seconds."""
    keep: int | None = Field(None, ge=0, lt=2**31)
    """Not among the newest so many of those that project and conclusion narrow to."""
    project: str | None = Field(None, min_length=1, max_length=200)
    conclusion: Annotated[list[Conclusion], BeforeValidator(_as_list)] = Field(default_factory=list)
    dry_run: bool = False
    """Only tell which jobs these are."""


WIRE_STATUS = {
    State.QUEUED: "queued",
    State.STARTING: "queued",
    State.RUNNING: "running",
    State.COMPLETED: "completed",
}


def reason_on_wire(job: Job) -> dict[str, str] | None:
    """Return the job's reason as `{"code", "message"}`, or None."""
    return None if job.reason is None else {"code": job.reason.code, "message": job.reason.message}


def step_on_wire(step: StepResult) -> dict[str, Any]:
    """Return one step as the job's `steps` list shows it."""
    return {
        "name": step.name,
        "status": step.status,
        "exit_code": step.exit_code,
        "start_time": to_rfc3339(step.start_time),
        "end_time": None if step.end_time is None else to_rfc3339(step.end_time),
        "log_offset": step.log_offset,
    }


def job_on_wire(
    job: Job, *, log_bytes: int | None = None, steps: tuple[StepResult, ...] | None = None
) -> dict[str, Any]:
    """Return the job as the API shows it. `log_bytes` and `steps` are the live ones of a job that still runs."""

    def instant(value: Any) -> str | None:
        return None if value is None else to_rfc3339(value)

    return {
        "job_id": job.id,
        "type": job.type,
        "status": WIRE_STATUS[job.state],
        "conclusion": job.conclusion,
        "success": None if job.conclusion is None else job.conclusion == "succeeded",
        "reason": reason_on_wire(job),
        "submit_time": instant(job.submit_time),
        "start_time": instant(job.start_time),
        "end_time": instant(job.end_time),
        "exit_code": job.exit_code,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "priority": job.priority,
        "project": job.project,
        "labels": job.labels,
        "payload": job.payload,
        "result": job.result,
        "error": job.error,
        "steps": [step_on_wire(s) for s in (job.steps if steps is None else steps)],
        "artifacts": [],
        "log_bytes": job.log_bytes if log_bytes is None else log_bytes,
        "log_sha256": job.log_sha256,
        "cancel_requested_time": instant(job.cancel_requested_time),
        "retry_of": job.retry_of,
        "runtime": job.runtime,
        "image": job.image,
    }


def complete_event(job: Job) -> Event:
    """Return the last event of a completed job's stream."""
    return {
        "type": COMPLETE,
        "success": job.conclusion == "succeeded",
        "conclusion": str(job.conclusion),
        "reason": reason_on_wire(job),
        "exit_code": job.exit_code,
        "log_bytes": job.log_bytes or 0,
        "log_sha256": job.log_sha256 or "",
    }


def status_event(job: Job) -> Event:
    """Return the event that tells where a job that has not completed stands."""
    return {"type": STATUS, "status": WIRE_STATUS[job.state], "reason": reason_on_wire(job)}
