"""The JSON that the API answers with, as models.

The API itself writes dictionaries (`ci_common.wire`), because validating every answer would cost more than making it.
Tests hold what it writes against these models, and the OpenAPI document is made from them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ci_common.jobs import Conclusion, ReasonCode, StartWay, StepStatus

WireStatus = Literal["queued", "running", "completed"]
JobId = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC with `Z`."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Shown(BaseModel):
    """A part of an answer. Clients must ignore fields that they do not know: later versions may add some."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra=lambda schema: schema.pop("additionalProperties", None)
    )


class ReasonView(Shown):
    """Why a job waits, or why it ended as it did."""

    code: Annotated[str, Field(json_schema_extra={"examples": [code.value for code in ReasonCode]})]
    """One of docs/reasons.md."""
    message: str


class StepView(Shown):
    """A step that has begun."""

    name: str
    status: Annotated[StepStatus, Field(strict=False)]
    exit_code: int | None
    start_time: Instant
    end_time: Instant | None
    log_offset: int = Field(ge=0, description="byte offset in the log where the step's output begins")


class MilestoneView(Shown):
    """A milestone of a job's path, and when the job passed it."""

    station: str
    time: Instant


class AttemptView(Shown):
    """An earlier attempt of a job."""

    attempt: int = Field(ge=1)
    conclusion: Annotated[Conclusion, Field(strict=False)]
    reason: ReasonView | None
    exit_code: int | None
    start_time: Instant | None
    end_time: Instant | None
    runtime: str | None
    start_way: Annotated[StartWay | None, Field(strict=False)]
    timing: list[MilestoneView]
    log_bytes: int = Field(ge=0)
    log_sha256: str
    steps: list[StepView]


class JobView(Shown):
    """A job."""

    job_id: JobId
    type: str
    status: WireStatus
    conclusion: Annotated[Conclusion | None, Field(strict=False)] = Field(description="null until completed")
    success: bool | None = Field(description="null until completed; true only for `succeeded`")
    reason: ReasonView | None = Field(description="why it waits, or why it ended so")
    submit_time: Instant
    start_time: Instant | None = Field(description="when the job's own code could start")
    end_time: Instant | None
    exit_code: int | None = Field(description="the job's own; null if it never ran or its end is not known")
    attempt: int = Field(ge=1, description="the present attempt")
    max_attempts: int = Field(ge=1)
    attempts: list[AttemptView] = Field(description="the earlier attempts")
    not_before: Instant | None = Field(description="when the next attempt may begin, while the job backs off")
    priority: int = Field(description="higher first, then first come first served")
    project: str | None
    labels: dict[str, str]
    payload: dict[str, Any] = Field(description="what was asked for, with secrets masked")
    result: str | None = Field(description="JSON as a string")
    error: str | None
    steps: list[StepView]
    artifacts: list[Any] = Field(max_length=0, description="always empty: files that a job leaves are not kept")
    log_bytes: int | None = Field(ge=0, description="length of the log so far; null until it starts")
    log_sha256: str | None = Field(description="SHA-256 of the log; null until completed")
    cancel_requested_time: Instant | None
    retry_of: JobId | None
    runtime: str | None = Field(description="`docker`, `process` or `builtin`; null while queued")
    start_way: Annotated[StartWay | None, Field(strict=False)]
    timing: list[MilestoneView]
    image: str | None


class JobWithLog(JobView):
    """A job; with `?include=log`, the end of its log too."""

    log: str = Field("", description="with `include=log`: the last 64 KiB of the log")


class SubmittedView(Shown):
    """The id of a new job."""

    job_id: JobId


class CleanupView(Shown):
    """Which jobs a cleanup has deleted."""

    deleted: int = Field(ge=0)
    job_ids: list[JobId] = Field(description="those first that ended first")
    more: bool = Field(description="whether others are left to delete: send the same again")


class PendingCleanupView(Shown):
    """What is left of deleted jobs."""

    pending: int = Field(ge=0, description="deleted jobs whose files and containers have still to be removed")


class PoolLimitsView(Shown):
    """Limits of waiting containers; a limit that is absent is none."""

    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None
    log: int | None = None
    workspace: int | None = None


class PoolKindView(Shown):
    """The waiting containers that are alike in all that is fixed when a container is created."""

    kind: str
    image: str | None
    network: bool | None
    limits: PoolLimitsView | None
    waiting: int = Field(ge=0)
    starting: int = Field(ge=0)
    wanted: int = Field(ge=0)
    last_used: Instant | None


class PoolView(Shown):
    """The containers that wait for jobs."""

    size: int = Field(ge=0)
    per_key: int = Field(ge=0)
    waiting: int = Field(ge=0)
    held_back: str | None = Field(description="why no more containers are made at present")
    kinds: list[PoolKindView]


class StartsView(Shown):
    """Attempts by how they got a container."""

    warm: int
    cold: int
    pull: int


class StageView(Shown):
    """How long one stage took, of the jobs that started in one way."""

    jobs: int
    avg_ms: float


class MetricsView(Shown):
    """The metrics as JSON. docs/metrics.md says what each is."""

    total_submitted: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    errored: int
    retries: int
    starts: StartsView
    avg_duration_ms: float | None
    queued: int
    starting: int
    running: int
    pending_removals: int
    controller_leads: bool
    controller_terms: int
    stages: dict[str, dict[str, StageView]] = Field(description="by stage, then by the way in which jobs started")
    pool_size: int
    pool_waiting: int
    pool_starting: int
    disk_free_bytes: dict[str, int] = Field(description="by path")
    uploads: int
    log_streams: int


class StatusView(Shown):
    """The server answers, or can take work."""

    status: Literal["ok"]


class AboutView(Shown):
    """What this server is, and where to go."""

    name: str
    about: str
    links: dict[str, str]
    commands: dict[str, str]
    documentation: str


class FieldErrorView(Shown):
    """A field at fault."""

    path: str
    message: str


class ProblemView(Shown):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="for people; may change")
    code: str = Field(description="for programs; docs/http.md lists them")
    errors: list[FieldErrorView] = Field(default_factory=list, description="the fields at fault")
    error_id: str = Field("", description="with `internal_error`: where the server's log says more")
    free_bytes: int = Field(0, description="with `disk_low`, as the next two")
    min_free_bytes: int = 0
    wanted_bytes: int = 0


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
    """A step has begun or ended."""

    type: Literal["step"]
    name: str
    status: Annotated[StepStatus, Field(strict=False)]
    exit_code: int | None


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


StreamEvent = Annotated[
    JobIdEvent | StatusEvent | LogEvent | StepEvent | AttemptEvent | CompleteEvent, Field(discriminator="type")
]
"""What the `data:` of an event in a job's stream holds."""
