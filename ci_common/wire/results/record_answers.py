"""The record of a run as the API answers with it, as models."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Conclusion
from ci_common.wire.answers import (
    AnnotationView,
    Instant,
    JobEnvironmentView,
    JobId,
    ReasonView,
    Shown,
    StepView,
)


class SubmittedByView(Shown):
    """Who submitted a job, and from where."""

    owner: str
    address: str | None = Field(description="the client's; null for a Unix socket")
    user_agent: str | None


class UsedImageView(Shown):
    """The image that an attempt ran in."""

    name: str = Field(description="as the job named it")
    id: str | None = Field(description="its content's digest, as the engine names it")
    digest: str | None = Field(description="what a registry has it by, as `name@sha256:…`; null for one made here")


class UsedUploadView(Shown):
    """What was uploaded."""

    sha256: str | None = Field(description="of the archive, or the id of the manifest's tree")
    size: int | None
    filename: str | None


class InputsView(Shown):
    """What the fingerprint is the digest of."""

    image: str | None = Field(description="the digest, else the id, else the name")
    steps: list[dict[str, Any]]
    environment: dict[str, Any] = Field(description="`key` of the prepared environment, and the job's `variables`")
    upload: str | None
    artifacts: str | None = Field(description="digest of the list of path and SHA-256 of each, in order; null for none")


class LogView(Shown):
    """The log of an attempt."""

    bytes: int = Field(ge=0)
    sha256: str | None


class SampleView(Shown):
    """What an attempt used up to a moment; null for what cannot be known."""

    seconds: float = Field(ge=0, description="since its code could start")
    memory: int | None = Field(description="bytes at that moment")
    cpu_seconds: float | None
    read_bytes: int | None
    written_bytes: int | None
    received_bytes: int | None
    sent_bytes: int | None


class ResourcesView(Shown):
    """What an attempt used in all; null for what cannot be known."""

    peak_memory: int | None = Field(description="bytes: of the container, or of the largest process without one")
    cpu_seconds: float | None
    read_bytes: int | None
    written_bytes: int | None
    received_bytes: int | None
    sent_bytes: int | None
    samples: list[SampleView] = Field(description="of attempts that ran for more than ten seconds")


class RunView(Shown):
    """All that is known of an attempt that has ended."""

    version: Literal[1]
    job_id: JobId
    type: str
    attempt: int = Field(ge=1)
    max_attempts: int = Field(ge=1)
    project: str | None
    labels: dict[str, str]
    priority: int
    retry_of: JobId | None
    submit_time: Instant
    start_time: Instant | None
    end_time: Instant | None
    conclusion: Annotated[Conclusion | None, Field(strict=False)]
    reason: ReasonView | None
    exit_code: int | None
    result: str | None
    error: str | None
    runtime: str | None
    start_way: Annotated[StartWay | None, Field(strict=False)]
    steps: list[StepView]
    artifacts: list[Any]
    artifact_totals: Any
    tests: Any
    summary: str | None
    annotations: list[AnnotationView]
    outputs: dict[str, str]
    submitted_by: SubmittedByView
    request: dict[str, Any] = Field(description="what was asked for, with secrets masked")
    plan: dict[str, Any] | None = Field(description="what was carried out, with secrets masked")
    image: UsedImageView | None
    environment: JobEnvironmentView | None
    upload: UsedUploadView | None
    inputs: InputsView
    fingerprint: str = Field(description="SHA-256 of the canonical JSON of `inputs`")
    log: LogView
    resources: ResourcesView | None


class CleanupStateView(Shown):
    """How far what the attempt left is removed."""

    status: Literal["not_due", "pending", "done"]
    time: Instant | None


class UploadFileView(Shown):
    """A file of an upload."""

    path: str
    size: int
    sha256: str


class RecordView(Shown):
    """The record of an attempt."""

    run: RunView
    sha256: str | None = Field(description="of the canonical JSON of `run`; null while the attempt has not ended")
    cleanup: CleanupStateView
    files: list[UploadFileView] | None = Field(
        None, description="with `include=files`: what was uploaded by manifest; null for archives"
    )
