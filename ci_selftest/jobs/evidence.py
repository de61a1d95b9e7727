"""What a run finds out, and what it finds wanting."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ci_selftest.jobs.plans import JobPlan
from ci_selftest.jobs.readers import Reading


class Promise(StrEnum):
    """What the product promises never to do, by the names of the table's lines."""

    LOST = "lost"
    """Bytes of a log are missing, or changed, for one reader or for all."""
    REPEATED = "repeated"
    """A reader has bytes of a log twice, or bytes that nobody wrote."""
    FORGOTTEN = "forgotten"
    """A job that was accepted is unknown, or never completes."""
    RUN_TWICE = "run twice"
    """A job's code began more than once, or one submission became two jobs, or one that was refused became a job."""
    WRONG_VERDICT = "wrong verdict"
    """A job's end is told otherwise than it was, to anybody, or told in two ways."""
    LEAKED_CONTAINER = "leaked container"
    """A container, or a process, is left of jobs that have completed."""
    LEAKED_FILE = "leaked file"
    """A file is left that no completed job may leave."""
    LEAKED_SLOT = "leaked slot"
    """Less than MAX_CONCURRENCY jobs run at once, when all earlier ones have completed."""
    ESCAPED = "escaped"
    """A job has had something changed or removed that is not its own."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    promise: Promise
    subject: str
    """The job's id, the container, the file."""
    detail: str
    """What was expected and what there was."""


@dataclass
class Evidence:
    """What is known of one job of the plan."""

    plan: JobPlan
    job_id: str | None = None
    """The id that the server gave; None where it gave none."""
    refusal: str = ""
    """Why the submission was refused, so that no job may come of it. Empty where it is not certain, too."""
    was_hit: bool = False
    """Whether what ran the job was killed or removed from outside."""
    readings: list[Reading] = field(default_factory=list)
    exit_status: int | None = None
    """Of the command that submitted and followed the job; None where there was none, or it was killed."""
    job: dict[str, Any] | None = None
    """What the server says of the job at the end; None where it knows none."""
    log: bytes | None = None
    """All of the log of the last attempt, as read at the end; None where there is none."""
    earlier_logs: list[bytes] = field(default_factory=list)
    """Those of the attempts before."""
    trouble: str = ""
    """What the server answered where it should have told of the job or its log."""
    starts: int | None = None
    """How often the job's code has left its mark in a file of its own; None where it cannot."""
