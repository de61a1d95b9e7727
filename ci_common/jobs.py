"""The job: its states, how they may change, how it may end, and the record that says all of it.

A job is stored in one of four states. `TRANSITIONS` is the only statement of how one follows another; the database's
CHECK constraints and the diagram in ARCHITECTURE.md are tested against it.
"""

import os
import time
import uuid
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """A job's stored state. Each line says who leaves it, and how."""

    QUEUED = "queued"
    """Left by the controller: for STARTING when a slot is free, or for COMPLETED when cancelled or impossible."""
    STARTING = "starting"
    """Left by the controller: for RUNNING once the job waits at its gate, or for COMPLETED when it cannot start. Its
    retry policy may make that QUEUED, with the next attempt."""
    RUNNING = "running"
    """Left by the controller: for COMPLETED once everything the job left has been collected, or, where its retry policy
    says so, for QUEUED with the next attempt."""
    COMPLETED = "completed"
    """Never left."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.STARTING, State.COMPLETED}),
    State.STARTING: frozenset({State.RUNNING, State.COMPLETED, State.QUEUED}),
    State.RUNNING: frozenset({State.COMPLETED, State.QUEUED}),
    State.COMPLETED: frozenset(),
}

ACTIVE_STATES = frozenset({State.STARTING, State.RUNNING})
"""The states in which a job holds a slot and may have a container."""


class Conclusion(StrEnum):
    """How a completed job ended."""

    SUCCEEDED = "succeeded"
    """Its own code ended with exit status 0."""
    FAILED = "failed"
    """Its own code ended with another exit status."""
    CANCELLED = "cancelled"
    """Somebody asked for its end before it had ended by itself."""
    TIMED_OUT = "timed_out"
    """It ran longer than its timeout allows, or was silent for longer than it may be."""
    ERRORED = "errored"
    """We could not run it, or lost it; the reason says why."""


class ReasonCode(StrEnum):
    """Why a job waits, or why it ended as it did. A closed list, documented in docs/reasons.md."""

    WAITING_FOR_CONTROLLER = "waiting_for_controller"
    WAITING_FOR_SLOT = "waiting_for_slot"
    WAITING_FOR_DISK = "waiting_for_disk"
    PULLING_IMAGE = "pulling_image"
    BACKING_OFF = "backing_off"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    STARTING = "starting"

    EXIT_CODE = "exit_code"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NO_OUTPUT = "no_output"
    LOG_LIMIT = "log_limit"
    WORKSPACE_LIMIT = "workspace_limit"
    PIDS_LIMIT = "pids_limit"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_PULL_FAILED = "image_pull_failed"
    IMAGE_INVALID = "image_invalid"
    IMAGE_WITHOUT_SHELL = "image_without_shell"
    CONTAINER_LOST = "container_lost"
    START_FAILED = "start_failed"
    LIMIT_UNENFORCEABLE = "limit_unenforceable"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    LOG_DAMAGED = "log_damaged"
    RESTORED = "restored"
    INTERNAL_ERROR = "internal_error"


STOP_CONCLUSIONS: dict[ReasonCode, Conclusion] = {
    ReasonCode.CANCELLED: Conclusion.CANCELLED,
    ReasonCode.DEADLINE_EXCEEDED: Conclusion.TIMED_OUT,
    ReasonCode.NO_OUTPUT: Conclusion.TIMED_OUT,
    ReasonCode.LOG_LIMIT: Conclusion.ERRORED,
    ReasonCode.WORKSPACE_LIMIT: Conclusion.ERRORED,
}
"""Why the controller stops a job that runs, and how the job ends then."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job waits or ended so: a code for programs, a message for people."""

    code: ReasonCode
    message: str


class StartWay(StrEnum):
    """How an attempt got what it runs in."""

    WARM = "warm"
    """It took a container that waited for a job."""
    COLD = "cold"
    """A container was created for it."""
    PULL = "pull"
    """The image had to be pulled first."""


class StepStatus(StrEnum):
    """Where one step of a job stands. A step that never began has no record."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step."""

    name: str
    status: StepStatus
    start_time: datetime
    log_offset: int
    """Byte offset in the job's log where this step's output begins."""
    exit_code: int | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How an earlier attempt of a job ended."""

    number: int
    """From 1."""
    conclusion: Conclusion
    end_time: datetime
    reason: Reason | None = None
    exit_code: int | None = None
    start_time: datetime | None = None
    runtime: str | None = None
    start_way: StartWay | None = None
    workload: str | None = None
    trace: dict[str, int] = field(default_factory=dict)
    steps: tuple[StepResult, ...] = ()
    log_bytes: int = 0
    log_sha256: str = ""


_LEFT_BY_AN_ATTEMPT = tuple(field.name for field in fields(Attempt) if field.name != "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What the API writes when a job is submitted: the columns that are its own, never written again."""

    id: str
    type: str
    """One of `ci_common.job_types`."""
    submit_time: datetime
    payload: dict[str, Any] = field(default_factory=dict)
    """What was asked for, as shown to users; values of secret-looking variables are masked."""
    plan: dict[str, Any] | None = None
    """The resolved `ExecutionPlan` in its JSON form; None for types without a workload."""
    image: str | None = None
    """The image the plan names; None where there is no container."""
    has_upload: bool = False
    priority: int = 0
    project: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    max_attempts: int = 1
    retry_of: str | None = None
    arrival: dict[str, int] = field(default_factory=dict)
    """When the submission passed which station, in microseconds since the start of 1970 UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(NewJob):
    """A job's whole row. `version` grows with every write of the controller, never with a cancel request."""

    state: State = State.QUEUED
    version: int = 0
    attempt: int = 1
    reason: Reason | None = None
    cancel_requested_time: datetime | None = None
    not_before: datetime | None = None
    """The controller leaves a queued job alone until then (it backs off)."""
    start_time: datetime | None = None
    start_boot: str | None = None
    """Which boot of which machine `start_uptime` belongs to; None where the system does not tell."""
    start_uptime: float | None = None
    """The machine's uptime in seconds at `start_time`: unlike the clock, nobody sets it."""
    end_time: datetime | None = None
    runtime: str | None = None
    """The runtime that took the job: `docker`, `process` or `builtin`; None while queued."""
    start_way: StartWay | None = None
    """How the present attempt got what it runs in; None until that is known, and for built-in types."""
    workload: str | None = None
    """Which waiting workload the present attempt took; None where it has one of its own."""
    trace: dict[str, int] = field(default_factory=dict)
    """When the present attempt passed which station, in microseconds since the start of 1970 UTC."""
    stop_code: ReasonCode | None = None
    """Why the controller has decided to stop the job, one of STOP_CONCLUSIONS; written before it is signalled."""
    conclusion: Conclusion | None = None
    exit_code: int | None = None
    result: str | None = None
    error: str | None = None
    steps: tuple[StepResult, ...] = ()
    log_bytes: int | None = None
    log_sha256: str | None = None
    earlier_attempts: tuple[Attempt, ...] = ()
    """All before the present one, in their order."""

    def with_changes(self, **changes: Any) -> "Job":
        """Return a copy with `changes`. Raises ValueError where state or attempt may not follow the present."""
        state = changes.get("state", self.state)
        if state != self.state and state not in TRANSITIONS[self.state]:
            raise ValueError(f"job {self.id} cannot go from {self.state} to {state}")
        anew = self.state in ACTIVE_STATES and state is State.QUEUED
        if changes.get("attempt", self.attempt) != self.attempt + anew:
            raise ValueError(f"job {self.id}: a new attempt begins when a job is queued again, and only then")
        return replace(self, **changes)

    def as_of(self, attempt: int) -> "Job":
        """Return the job as it was when `attempt` had ended, as if that had been its last; itself for the present one.

        Raises IndexError for an attempt that has not begun.
        """
        if attempt == self.attempt:
            return self
        ended = self.earlier_attempts[attempt - 1]
        return replace(
            self,
            attempt=attempt,
            state=State.COMPLETED,
            not_before=None,
            stop_code=None,
            result=None,
            error=None,
            earlier_attempts=self.earlier_attempts[: attempt - 1],
            **{name: getattr(ended, name) for name in _LEFT_BY_AN_ATTEMPT},
        )


def new_job_id() -> str:
    """Return a new UUIDv7 (RFC 9562, section 5.7), lower case, so that sorting by id is sorting by submission time.

    The twelve bits after the milliseconds hold their fraction (section 6.2, method 3): ids that one machine makes one
    after the other are in order even within a millisecond.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    random_bits = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | fraction << 64 | 0b10 << 62 | random_bits
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_job_id(text: str) -> bool:
    """Return whether `text` is a UUID in the canonical lower-case form of job ids."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
