"""The job: its states and their transitions, its conclusions and reasons, and its row in the database.

`TRANSITIONS` is the only definition of which state may follow another. Tests compare the diagram in ARCHITECTURE.md and
the database's CHECK constraints with it.
"""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

from ci_common.attempts.outcomes import Client, ResourceUse, Results, UsedImage
from ci_common.attempts.parts import JobArtifacts, JobCache, JobEnvironment, StartWay, StepResult
from ci_common.attempts.testing import CaseSummary

WITHOUT_CONTAINER = "process"
"""The runtime that runs jobs as processes, which have neither image nor container."""


class State(StrEnum):
    """The stored state of a job, and how the controller moves the job on. The API moves no job."""

    QUEUED = "queued"
    """The job waits. The controller moves it to STARTING when a slot is free, or to COMPLETED if it was cancelled or
    can never run."""
    STARTING = "starting"
    """The job has a slot. The controller moves it to RUNNING when its script waits at the gate, or to COMPLETED if it
    cannot start. If its retry policy asks for another attempt, it goes back to QUEUED instead of COMPLETED."""
    RUNNING = "running"
    """The job's own code may run. The controller moves it to COMPLETED when everything that the job left is collected,
    or back to QUEUED if its retry policy asks for another attempt."""
    COMPLETED = "completed"
    """The job has ended, with a conclusion, and its log is complete. It stays in this state."""


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
    """Its own code ended with an exit status other than 0."""
    CANCELLED = "cancelled"
    """It was cancelled before its own code had ended."""
    TIMED_OUT = "timed_out"
    """It exceeded its timeout, or wrote no output for longer than its `no_output_timeout`."""
    ERRORED = "errored"
    """It could not be run, or was lost; the reason says why."""


class ReasonCode(StrEnum):
    """Why a job waits, or why it ended. docs/reasons.md documents each of them."""

    WAITING_FOR_CONTROLLER = "waiting_for_controller"
    WAITING_FOR_SLOT = "waiting_for_slot"
    WAITING_FOR_GROUP = "waiting_for_group"
    WAITING_FOR_QUOTA = "waiting_for_quota"
    WAITING_FOR_DISK = "waiting_for_disk"
    PULLING_IMAGE = "pulling_image"
    PREPARING_ENVIRONMENT = "preparing_environment"
    BACKING_OFF = "backing_off"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    STARTING = "starting"
    WAITING_FOR_SERVICES = "waiting_for_services"

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
    SERVICE_FAILED = "service_failed"
    SECRET_UNAVAILABLE = "secret_unavailable"  # noqa: S105  # a code, and no secret
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
    ReasonCode.SERVICE_FAILED: Conclusion.ERRORED,
}
"""The reasons for which the controller stops a running job, and the conclusions they lead to."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job waits, or why it ended: a code for programs and a message for people."""

    code: ReasonCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that has ended and was followed by another one. The fields mean the same as in `Job`."""

    number: int
    """Counted from 1."""
    conclusion: Conclusion
    end_time: datetime
    reason: Reason | None = None
    exit_code: int | None = None
    start_time: datetime | None = None
    runtime: str | None = None
    start_way: StartWay | None = None
    environment: JobEnvironment | None = None
    caches: tuple[JobCache, ...] = ()
    artifacts: JobArtifacts | None = None
    trace: dict[str, int] = field(default_factory=dict)
    steps: tuple[StepResult, ...] = ()
    log_bytes: int = 0
    log_sha256: str = ""
    tests: CaseSummary | None = None
    results: Results = field(default_factory=Results)
    resources: ResourceUse | None = None
    used_image: UsedImage | None = None


_ATTEMPT_FIELDS = tuple(field.name for field in fields(Attempt) if field.name != "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """The columns that the API writes when a job is submitted. They never change."""

    id: str
    type: str
    """One of `ci_common.job_types`."""
    submit_time: datetime
    payload: dict[str, Any] = field(default_factory=dict)
    """The request as users see it, with secrets redacted."""
    plan: dict[str, Any] | None = None
    """The resolved `ExecutionPlan` in its JSON form; None for types without a workload."""
    image: str | None = None
    """The image in the plan; None for types without a workload."""
    has_upload: bool = False
    upload_bytes: int = 0
    """The size of the upload; 0 without one."""
    owner: str = "local"
    """The name of the identity that submitted the job."""
    priority: int = 0
    project: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    max_attempts: int = 1
    retry_of: str | None = None
    concurrency_group: str | None = None
    """One job at a time runs of all with this group in the same project, or without a project of the same owner."""
    cancel_running: bool = False
    """The job cancels the others of its group when it is stored."""
    client: Client | None = None
    """Where the submission came from; None for jobs whose submission did not say."""
    arrival: dict[str, int] = field(default_factory=dict)
    """When the submission passed its milestones (`ci_common.times`), in microseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(NewJob):
    """The row of a job. The controller writes all fields that `NewJob` does not have, but for `cancel_requested_time`
    and `replaced_by`.

    `start_time` to `trace`, and `exit_code` to `log_sha256`, are those of the current attempt.
    """

    state: State = State.QUEUED
    version: int = 0
    """Counts the controller's writes; a cancel request does not change it."""
    attempt: int = 1
    """The current attempt, counted from 1."""
    reason: Reason | None = None
    """Why the job waits, or why it ended; None while it runs."""
    cancel_requested_time: datetime | None = None
    """When the API received a cancel request; None if it has received none."""
    replaced_by: str | None = None
    """The job of the same concurrency group whose submission was the cancel request; None for any other request."""
    not_before: datetime | None = None
    """A queued job that backs off is not started before this time."""
    start_time: datetime | None = None
    """When the job's own code could start."""
    start_boot: str | None = None
    """The boot of the machine that `start_uptime` counts from; None if the system does not report it."""
    start_uptime: float | None = None
    """The machine's uptime in seconds at `start_time`; unlike the clock, it cannot be set."""
    end_time: datetime | None = None
    runtime: str | None = None
    """The runtime of the job: `docker`, `process` or `builtin` (types without a workload); None while queued."""
    start_way: StartWay | None = None
    """How the attempt got its container or process; None until that is known, and for types without a workload."""
    environment: JobEnvironment | None = None
    """The prepared environment of the attempt; None for jobs without a setup, and until the attempt starts."""
    caches: tuple[JobCache, ...] = ()
    """What became of the caches of the attempt; empty until it has ended."""
    artifacts: JobArtifacts | None = None
    """The files that are kept of the attempt; None until it has ended, and for a job that keeps none."""
    trace: dict[str, int] = field(default_factory=dict)
    """When the attempt passed its milestones (`ci_common.times`), in microseconds since 1970 UTC."""
    stop_code: ReasonCode | None = None
    """Why the controller stops the job, a key of STOP_CONCLUSIONS; written before the job is signalled."""
    conclusion: Conclusion | None = None
    """How the job ended; None until it is completed."""
    exit_code: int | None = None
    """The exit status of the job's own code; None if it never ran, or its end is not known."""
    result: str | None = None
    """The result as JSON (`JobType.result`); None for types without one."""
    error: str | None = None
    """The message of the reason, if the conclusion is ERRORED."""
    steps: tuple[StepResult, ...] = ()
    log_bytes: int | None = None
    log_sha256: str | None = None
    tests: CaseSummary | None = None
    """What the tests of the attempt came to; None without a report, and until it has ended."""
    results: Results = field(default_factory=Results)
    """What the attempt said about itself; empty until it has ended."""
    resources: ResourceUse | None = None
    """What the attempt used; None until it has ended, and for types without a workload."""
    used_image: UsedImage | None = None
    """The image that the attempt ran in; None until it has ended, and where there is no image."""
    earlier_attempts: tuple[Attempt, ...] = ()
    """The attempts before the current one, in order."""

    def with_changes(self, **changes: Any) -> "Job":
        """Return a copy with `changes`. Raises ValueError if state or attempt may not follow the current ones."""
        state = changes.get("state", self.state)
        if state != self.state and state not in TRANSITIONS[self.state]:
            raise ValueError(f"job {self.id} cannot go from {self.state} to {state}")
        is_retried = self.state in ACTIVE_STATES and state is State.QUEUED
        if changes.get("attempt", self.attempt) != self.attempt + is_retried:
            raise ValueError(f"job {self.id}: the attempt has to grow by 1 when the job is queued again, and only then")
        return _made(dict(zip(_SETTERS, _values(self), strict=True)) | changes)

    @classmethod
    def of(cls, new: NewJob, **changes: Any) -> "Job":
        """Return the job that a submission makes, before any controller has written to it, with `changes`."""
        asked = dict(zip(_OF_NEW_JOBS, _new_values(new), strict=True))
        return _made(asked | _UNTOUCHED | {"trace": {}, "results": Results()} | changes)

    @property
    def cancelled_by(self) -> str:
        """Return who asked for the job's end, as a message says it."""
        if self.replaced_by is None:
            return "on request"
        return f"by job {self.replaced_by}, which takes its place in the concurrency group {self.concurrency_group!r}"

    def as_of(self, attempt: int) -> "Job":
        """Return the job as if it had completed with `attempt`; the job itself for the current attempt.

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
            **{name: getattr(ended, name) for name in _ATTEMPT_FIELDS},
        )


_SETTERS: dict[str, Callable[[Job, Any], None]] = {each.name: getattr(Job, each.name).__set__ for each in fields(Job)}
_OF_NEW_JOBS = tuple(each.name for each in fields(NewJob))
_values, _new_values = attrgetter(*_SETTERS), attrgetter(*_OF_NEW_JOBS)
_UNTOUCHED = {
    each.name: each.default for each in fields(Job) if each.name not in _OF_NEW_JOBS and each.default is not MISSING
}


def _made(values: dict[str, Any]) -> Job:
    """Return the job with these values, one for every field. Raises TypeError where a job has no such field.

    Every submission and every write makes one, in half the time that a constructor with so many parameters takes.
    """
    job = object.__new__(Job)
    try:
        for name, value in values.items():
            _SETTERS[name](job, value)
    except KeyError as exc:
        raise TypeError(f"a job has no field {exc}") from exc
    return job


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
