"""The stream of changes of jobs: its events as models, and jobs in the short form that it and lists have."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ci_common.jobs import Conclusion, Job
from ci_common.times import to_rfc3339
from ci_common.wire.answers import CaseSummaryView, ReasonView, WireStatus
from ci_common.wire.live.events import RefusedEvent
from ci_common.wire.parts import Instant, JobId, Shown
from ci_common.wire.stream import WIRE_STATUS, reason_on_wire
from ci_common.wire.writing import summary_on_wire


class JobLineView(Shown):
    """A job in its short form: what a line of a list says. The fields are those of the job."""

    job_id: JobId
    type: str
    status: WireStatus
    conclusion: Annotated[Conclusion | None, Field(strict=False)]
    success: bool | None
    reason: ReasonView | None
    submit_time: Instant
    start_time: Instant | None
    end_time: Instant | None
    exit_code: int | None
    attempt: int = Field(ge=1)
    max_attempts: int = Field(ge=1)
    priority: int
    project: str | None
    labels: dict[str, str]
    image: str | None
    tests: CaseSummaryView | None
    cancel_requested_time: Instant | None
    retry_of: JobId | None


class BeginEvent(Shown):
    """The first event. What is read of the jobs from now on has all changes before it."""

    type: Literal["begin"]


class ResetEvent(Shown):
    """In place of `begin` or later: changes may be missing before this, so lists have to be read again."""

    type: Literal["reset"]
    message: str


class ChangedEvent(Shown):
    """A job has changed, once or several times."""

    type: Literal["job"]
    event: Literal["queued", "starting", "running", "completed", "cancel_requested"] = Field(
        description="the last change; `queued` also before a further attempt"
    )
    time: Instant
    job: JobLineView = Field(description="as it is now, which may be later")


class DeletedEvent(Shown):
    """A job has been deleted."""

    type: Literal["deleted"]
    time: Instant
    job_id: JobId


FeedEvent = Annotated[BeginEvent | ResetEvent | ChangedEvent | DeletedEvent | RefusedEvent, Field(discriminator="type")]
"""What the `data:` of an event in the stream of changes holds."""


def line_on_wire(job: Job) -> dict[str, Any]:
    """Return a job in its short form, which `JobLineView` describes."""
    return {
        "job_id": job.id,
        "type": job.type,
        "status": WIRE_STATUS[job.state],
        "conclusion": job.conclusion,
        "success": None if job.conclusion is None else job.conclusion == "succeeded",
        "reason": reason_on_wire(job.reason),
        "submit_time": to_rfc3339(job.submit_time),
        "start_time": None if job.start_time is None else to_rfc3339(job.start_time),
        "end_time": None if job.end_time is None else to_rfc3339(job.end_time),
        "exit_code": job.exit_code,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "priority": job.priority,
        "project": job.project,
        "labels": job.labels,
        "image": job.image,
        "tests": summary_on_wire(job.tests),
        "cancel_requested_time": None if job.cancel_requested_time is None else to_rfc3339(job.cancel_requested_time),
        "retry_of": job.retry_of,
    }
