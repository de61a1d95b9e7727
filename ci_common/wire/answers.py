"""The JSON that the API answers with, as models.

The API itself writes dictionaries (`writing`), because validating every answer would cost more than making it.
Tests hold what it writes against these models, and the OpenAPI document is made from them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from ci_common.attempts.parts import SHOWN_ARTIFACTS, StartWay, StepStatus
from ci_common.jobs import Conclusion, ReasonCode
from ci_common.wire.parts import Instant as Instant
from ci_common.wire.parts import JobId as JobId
from ci_common.wire.parts import Shown as Shown
from ci_common.wire.results.artifacts import ArtifactTotalsView, ArtifactView

WireStatus = Literal["queued", "running", "completed"]


class ReasonView(Shown):
    """Why a job waits, or why it ended as it did."""

    code: Annotated[str, Field(json_schema_extra={"examples": [code.value for code in ReasonCode]})]
    """One of docs/reasons.md."""
    message: str


class StreamTicketView(Shown):
    """A ticket for the stream of one job."""

    ticket: str = Field(description="to be sent as the parameter `ticket`")
    expires: Instant = Field(description="until when it opens streams")


class StepView(Shown):
    """A step that has begun or was left out."""

    name: str
    status: Annotated[StepStatus, Field(strict=False)]
    reason: str | None = Field(description="why it was left out or ended; null otherwise")
    exit_code: int | None
    start_time: Instant
    end_time: Instant | None
    log_offset: int = Field(ge=0, description="byte offset in the log where the step's output begins")


class MilestoneView(Shown):
    """A milestone of a job's path, and when the job passed it."""

    station: str
    time: Instant


class JobEnvironmentView(Shown):
    """The prepared environment of an attempt."""

    key: str = Field(description="the digest of all that it depends on")
    created: Instant | None = Field(description="when it was made; null without a hit")
    age: float | None = Field(ge=0, description="how many seconds old it was when the attempt started")
    hit: bool = Field(description="whether the attempt started from it; otherwise its setup ran")


class EnvironmentView(Shown):
    """A prepared environment."""

    key: str
    project: str | None
    job_id: JobId = Field(description="the last job that used it, or that it was made for")
    runtime: str
    image: str = Field(description="the image that it was made from, as the job named it")
    reference: str = Field(description="where the runtime has it: the id of an image")
    setup: str = Field(description="the commands that made it")
    inputs: list[str] = Field(description="the files that they read")
    pinned: bool = Field(description="whether it is never renewed")
    created: Instant
    last_used: Instant
    bytes: int = Field(ge=0, description="on disk, beyond the image's own")
    seconds: float = Field(ge=0, description="how long the setup took")


class JobCacheView(Shown):
    """What became of one cache of an attempt."""

    path: str
    key: str
    restored_from: str | None = Field(description="the key of the cache that was put in place; null without one")
    bytes: int | None = Field(ge=0, description="of what was saved, or else restored; null without either")
    saved: bool | None = Field(description="whether it is kept for later jobs; null while that is not known")


class CacheView(Shown):
    """A cache."""

    id: str
    project: str | None
    path: str = Field(description="what it is a cache of")
    key: str
    job_id: str = Field(description="the job that has left it")
    created: Instant
    last_used: Instant
    bytes: int = Field(ge=0, description="on disk")
    files: int = Field(ge=0, description="how many files, directories and links it has")


class CaseSummaryView(Shown):
    """How many tests ended how."""

    total: int = Field(ge=0)
    passed: int = Field(ge=0)
    failed: int = Field(ge=0)
    skipped: int = Field(ge=0)
    errors: int = Field(ge=0)
    flaky: int = Field(ge=0, description="of all these, those with both verdicts on the same content")
    seconds: float = Field(ge=0, description="all tests together")


class AnnotationView(Shown):
    """A remark on a place in the project."""

    level: Literal["notice", "warning", "error"]
    message: str
    source: Literal["job", "matcher", "sarif", "ci"] = Field(
        description="who says so: the job's log, a tool whose output is known, a report, or this server"
    )
    tool: str | None
    title: str | None
    file: str | None = Field(description="as the job named it, relative to the project as a rule")
    line: int | None = Field(ge=1)
    column: int | None = Field(ge=1)
    end_line: int | None = Field(ge=1)
    log_offset: int | None = Field(ge=0, description="byte offset in the log of the line that says so")


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
    environment: JobEnvironmentView | None
    caches: list[JobCacheView]
    artifact_totals: ArtifactTotalsView | None
    tests: CaseSummaryView | None
    timing: list[MilestoneView]
    log_bytes: int = Field(ge=0)
    log_sha256: str
    steps: list[StepView]
    summary: str | None
    annotations: list[AnnotationView]
    outputs: dict[str, str]


class ConcurrencyView(Shown):
    """The concurrency group of a job."""

    group: str
    cancel_running: bool


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
    priority: int = Field(description="higher first; projects of one priority take turns")
    concurrency: ConcurrencyView | None = Field(description="its concurrency group; null without one")
    owner: str = Field(description="the name of the key or person that has submitted it")
    project: str | None
    labels: dict[str, str]
    untrusted: bool = Field(description="true: it was given no secrets, as what it runs is not trusted")
    payload: dict[str, Any] = Field(description="what was asked for, with secrets masked")
    result: str | None = Field(description="JSON as a string")
    error: str | None
    steps: list[StepView]
    artifacts: list[ArtifactView] = Field(
        max_length=SHOWN_ARTIFACTS,
        description="of the present attempt, the first 100; `GET /jobs/{id}/artifacts` has all",
    )
    artifact_totals: ArtifactTotalsView | None = Field(description="null until it has ended, and if it keeps none")
    tests: CaseSummaryView | None = Field(
        description="of the present attempt; null without a test report, and until it has ended"
    )
    log_bytes: int | None = Field(ge=0, description="length of the log so far; null until it starts")
    log_sha256: str | None = Field(description="SHA-256 of the log; null until completed")
    cancel_requested_time: Instant | None
    retry_of: JobId | None
    runtime: str | None = Field(description="`docker`, `process` or `builtin`; null while queued")
    start_way: Annotated[StartWay | None, Field(strict=False)]
    services: dict[str, str] = Field(description="images of the containers beside the job, by name")
    environment: JobEnvironmentView | None = Field(description="of the present attempt; null without a setup")
    caches: list[JobCacheView] = Field(description="of the present attempt; empty until it has ended")
    summary: str | None = Field(description="Markdown, as the job wrote it: whatever shows it has to make it harmless")
    annotations: list[AnnotationView] = Field(description="of the present attempt; empty until it has ended")
    outputs: dict[str, str] = Field(description="of the present attempt; empty until it has ended")
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
    disk_size_bytes: dict[str, int] = Field(description="by path")
    disk_reserve_bytes: dict[str, int] = Field(description="by path; with less free, no new work starts")
    uploads: int
    log_streams: int


class UploadView(Shown):
    """How far an upload by manifest is."""

    upload_id: JobId
    received: int = Field(ge=0, description="frames that have been received: the number of the next one")
    frames: int = Field(ge=0, description="frames in all")


class BegunUploadView(UploadView):
    """An upload by manifest that has begun."""

    missing: list[list[int]] = Field(
        description="which files have to be sent, as pairs of the first and the last place in the manifest"
    )


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
