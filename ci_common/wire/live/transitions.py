"""What became of a job, in the order of time: `GET /jobs/{id}/events`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from ci_common.jobs import Attempt, Conclusion, Job, Reason, State
from ci_common.times import to_rfc3339
from ci_common.wire.answers import ReasonView
from ci_common.wire.parts import Instant, Shown
from ci_common.wire.stream import reason_on_wire


class TransitionView(Shown):
    """One change of a job."""

    time: Instant
    attempt: int = Field(ge=1)
    event: Literal["queued", "running", "ended", "cancel_requested"]
    conclusion: Annotated[Conclusion | None, Field(strict=False)] = Field(description="of an attempt that has ended")
    reason: ReasonView | None = Field(description="why it ended so; of a job that waits, why it waits")
    exit_code: int | None


def transitions_of(job: Job) -> list[dict[str, Any]]:
    """Return the changes of a job, those first that came first. The `timing` of the job has its milestones."""
    found = list(_transitions(job))
    if job.cancel_requested_time is not None:
        found.append((job.cancel_requested_time, job.attempt, "cancel_requested", None))
    # What has the same time stays in the order of an attempt.
    return [_on_wire(*each) for each in sorted(found, key=lambda each: (each[0], each[1]))]


_Ended = Attempt | Job | None
_Transition = tuple[datetime, int, str, _Ended]


def _transitions(job: Job) -> Iterator[_Transition]:
    queued = job.submit_time
    for attempt in job.earlier_attempts:
        yield queued, attempt.number, "queued", None
        if attempt.start_time is not None:
            yield attempt.start_time, attempt.number, "running", None
        yield attempt.end_time, attempt.number, "ended", attempt
        queued = attempt.end_time
    yield queued, job.attempt, "queued", job if job.state in (State.QUEUED, State.STARTING) else None
    if job.start_time is not None:
        yield job.start_time, job.attempt, "running", None
    if job.end_time is not None:
        yield job.end_time, job.attempt, "ended", job


def _on_wire(time: datetime, attempt: int, event: str, told: _Ended) -> dict[str, Any]:
    reason: Reason | None = None if told is None else told.reason
    has_ended = told is not None and event == "ended"
    return {
        "time": to_rfc3339(time),
        "attempt": attempt,
        "event": event,
        "conclusion": told.conclusion if told is not None and has_ended else None,
        "reason": reason_on_wire(reason),
        "exit_code": told.exit_code if told is not None and has_ended else None,
    }
