"""What is known of an attempt besides how it ended: how it started, its environment, its caches and its steps."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StartWay(StrEnum):
    """How an attempt got its container or process."""

    WARM = "warm"
    """It claimed a warm container."""
    COLD = "cold"
    """A new container was created."""
    PULL = "pull"
    """The image was pulled, and then a container was created."""


@dataclass(frozen=True, slots=True)
class JobEnvironment:
    """The prepared environment that belongs to the setup of an attempt."""

    key: str
    hit: bool
    """Whether the attempt started from it. Otherwise its setup ran as its first steps."""
    created: int | None = None
    """When it was made, in microseconds since 1970 UTC; None without a hit."""
    age: float | None = None
    """How many seconds old it was when the attempt started; None without a hit."""
    reference: str | None = None
    """Where its runtime has it: the id of an image; None without a hit."""


@dataclass(frozen=True, slots=True)
class JobCache:
    """What became of one cache of an attempt."""

    path: str
    key: str
    restored_from: str | None = None
    """The key of the cache that was put in place; None if there was none."""
    bytes: int | None = None
    """Of the archive that was saved, or else of the one that was restored; None without either."""
    saved: bool | None = False
    """Whether it is kept for later jobs; None while that is not known."""


class StepStatus(StrEnum):
    """The status of one step. A step that has neither begun nor been left out has no `StepResult`."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step of an attempt that has begun or was left out."""

    name: str
    status: StepStatus
    start_time: datetime
    """When it began, or was left out."""
    log_offset: int
    """Byte offset of the step's output in the log."""
    exit_code: int | None = None
    """None for a step that was left out."""
    end_time: datetime | None = None
    reason: str | None = None
    """Why it was left out, or was ended."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that is kept of what an attempt has left."""

    path: str
    """Relative to the project's directory, with `/` between names, none of which is `..`."""
    size: int
    sha256: str
    content_type: str
    key: str
    """What the artifact store calls its content."""
    name: str | None = None
    """The group that it belongs to."""
    expires: int | None = None
    """When it is removed, in microseconds since 1970 UTC; None: with the job."""
    removed: bool = False
    """Whether it has expired, and its content is gone."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that was to be kept, and is not."""

    path: str
    """Printable: what is not is escaped, and what is long is cut."""
    reason: str


SHOWN_ARTIFACTS = 100
"""How many artifacts a job that is read has; the store of artifacts has them all."""


@dataclass(frozen=True, slots=True)
class JobArtifacts:
    """The artifacts of one attempt that has ended."""

    number: int = 0
    bytes: int = 0
    files: tuple[Artifact, ...] = ()
    """In the order of their paths. Of a job that was read, at most the first SHOWN_ARTIFACTS, and none of earlier
    attempts."""
    left_out_number: int = 0
    left_out: tuple[LeftOut, ...] = ()
    """The first ones of those."""
