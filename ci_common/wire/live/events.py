"""The events of a job's stream, as models of their JSON. The API writes dictionaries, as `answers` says."""

from typing import Annotated, Literal

from pydantic import Field

from ci_common.attempts.parts import StepStatus
from ci_common.jobs import Conclusion
from ci_common.wire.answers import Instant, JobId, ReasonView, Shown, WireStatus
from ci_common.wire.live.agent_events import BeginEvent, HeartbeatEvent, LeftEvent, VerdictEvent


class JobIdEvent(Shown):
    """The first event of `POST /submit-stream`."""

    type: Literal["job_id"]
    job_id: JobId


class StatusEvent(Shown):
    """Where the job stands."""

    type: Literal["status"]
    status: WireStatus
    reason: ReasonView | None


class LogEvent(Shown):
    """A piece of the log. The event's `id:` is the cursor behind it."""

    type: Literal["log"]
    data: str
    time: Instant
    base64: str = Field("", description="the exact bytes, if they are not valid UTF-8")


class StepEvent(Shown):
    """A step has begun, has ended, or was left out."""

    type: Literal["step"]
    name: str
    status: Annotated[StepStatus, Field(strict=False)]
    exit_code: int | None
    reason: str | None = Field(None, description="why it was left out or ended")


class PreviousAttempt(Shown):
    """How the attempt before ended."""

    attempt: int
    conclusion: Annotated[Conclusion, Field(strict=False)]
    reason: ReasonView | None
    exit_code: int | None
    log_bytes: int
    log_sha256: str


class AttemptEvent(Shown):
    """A further attempt begins."""

    type: Literal["attempt"]
    attempt: int
    max_attempts: int
    previous: PreviousAttempt


class CompleteEvent(Shown):
    """The verdict. The server closes the stream after it."""

    type: Literal["complete"]
    success: bool
    conclusion: Annotated[Conclusion, Field(strict=False)]
    reason: ReasonView | None
    exit_code: int | None
    log_bytes: int
    log_sha256: str


class RefusedEvent(Shown):
    """The key of the request is not accepted any more. The server closes the stream after it; the job goes on."""

    type: Literal["refused"]
    code: str
    message: str


StreamEvent = Annotated[
    JobIdEvent | StatusEvent | LogEvent | StepEvent | AttemptEvent | CompleteEvent | RefusedEvent,
    Field(discriminator="type"),
]
"""What the `data:` of an event in a job's stream holds."""


class RunEvent(Shown):
    """A run of `ci run --watch` begins; only the command line writes it."""

    type: Literal["run"]
    run: int = Field(ge=1)
    changed: list[str] = Field(description="the paths that have changed since the run before")


class WrittenLogEvent(LogEvent):
    """A piece of the log, as the command line writes it."""

    offset: int = Field(ge=0, description="of the attempt's log, in bytes, behind this piece")
    id: str = Field(description="where to go on: the `Last-Event-ID` of a request for the stream")


class WrittenAttemptEvent(AttemptEvent):
    """A further attempt begins, as the command line writes it."""

    id: str = Field(description="where to go on: the `Last-Event-ID` of a request for the stream")


CommandEvent = Annotated[
    JobIdEvent
    | StatusEvent
    | WrittenLogEvent
    | StepEvent
    | WrittenAttemptEvent
    | CompleteEvent
    | RefusedEvent
    | RunEvent
    | BeginEvent
    | HeartbeatEvent
    | VerdictEvent
    | LeftEvent,
    Field(discriminator="type"),
]
"""What a line is that a command writes with `--jsonl`."""
