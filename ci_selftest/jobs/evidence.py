"""The evidence of a run, and the promises that it can show broken."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ci_selftest.jobs.plans import JobPlan
from ci_selftest.jobs.readers import Reading


class Promise(StrEnum):
    """The ways to break a promise, named as in the table."""

    LOST = "lost"
    """Bytes of a log or an artifact, or tests, are missing, or changed, for one reader or for all."""
    REPEATED = "repeated"
    """A reader has bytes of a log or tests twice, or such as the job did not write."""
    FORGOTTEN = "forgotten"
    """A job that was accepted is unknown, or never completes."""
    RUN_TWICE = "run twice"
    """A job's code began more than once, or a submission became two jobs, or a refused submission became a job."""
    WRONG_VERDICT = "wrong verdict"
    """A job's reported end is wrong, or reports of it differ."""
    LEAKED_CONTAINER = "leaked container"
    """A container or a process of completed jobs is left."""
    LEAKED_FILE = "leaked file"
    """A file is left that completed jobs must not leave."""
    LEAKED_ENVIRONMENT = "leaked environment"
    """An image of a prepared environment is left that no row names, or a row that names no image."""
    LEAKED_SLOT = "leaked slot"
    """Fewer than MAX_CONCURRENCY jobs run at a time after all earlier ones have completed."""
    ESCAPED = "escaped"
    """A job caused a change outside its own files."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    promise: Promise
    subject: str
    """The job's id, the container, the file."""
    detail: str
    """What was expected and what was found."""


@dataclass
class Evidence:
    """What is known of one job."""

    plan: JobPlan
    job_id: str | None = None
    """The id from the server, if it sent one."""
    refusal: str = ""
    """Why the submission was refused, so that it must not become a job. Empty if the outcome is uncertain."""
    was_hit: bool = False
    """Whether the job's workload was killed or removed from outside."""
    readings: list[Reading] = field(default_factory=list)
    exit_status: int | None = None
    """The exit status of the command that submitted and followed the job; None if there was none, or it was killed."""
    job: dict[str, Any] | None = None
    """The job from the server at the end; None if the server does not know it."""
    log: bytes | None = None
    """The log of the last attempt, read at the end; None if there is none."""
    earlier_logs: list[bytes] = field(default_factory=list)
    """The logs of the earlier attempts."""
    artifacts: dict[str, str] | None = None
    """The SHA-256 of each artifact of the last attempt as it was downloaded, by path; None if there is no job."""
    tests: list[tuple[str, str]] | None = None
    """Name and status of each test of the last attempt, as the server lists them; None if there is no job."""
    trouble: str = ""
    """The server's error when it was asked for the job or its log."""
    starts: int | None = None
    """How often the job's code recorded its start in its witness file; None if it cannot."""

    @property
    def is_prepared(self) -> bool:
        """Whether the job started from a prepared environment."""
        return bool(((self.job or {}).get("environment") or {}).get("hit"))
