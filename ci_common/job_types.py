"""The types of job: what each takes, what it returns, how it is carried out, and by whom.

A type is one `JobType`, which `register` makes known to the API and the controller of this process. Nothing else has to
change for it, apart from its row in docs/http.md.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, Field, RootModel

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.models import StrictModel, invalid, validated
from ci_common.parsing.text import shown
from ci_common.parsing.values import Integer
from ci_common.spec import Spec

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")


class Driver(StrEnum):
    """Who takes the jobs of a type from the queue and writes what becomes of them."""

    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Workload:
    """Carried out by commands in a container or in processes of their own. The payload is a `Spec`."""


def _at_once(_: object) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Computed(Generic[P, R]):
    """Carried out by two pure functions of the payload, inside the controller.

    A controller that replaces another one calls them again, so they must return the same for the same payload.
    """

    result: Callable[[P], R]
    """Return the job's result: something that `json.dumps` takes, or a model."""
    seconds: Callable[[P], float] = _at_once
    """Return how long the job runs."""


@dataclass(frozen=True, slots=True)
class JobType(Generic[P, R]):
    """One type of job."""

    name: str
    summary: str
    """What a job of this type does, in one sentence for the documentation."""
    payload: type[P]
    """Checks the payload of a submission. It is validated again whenever the job is carried out."""
    carried_out_by: Workload | Computed[P, R]
    result: type[R] | None = None
    """What the job's `result` holds as JSON; None if jobs of this type return nothing."""
    driven_by: Driver = Driver.CONTROLLER

    def __post_init__(self) -> None:
        if isinstance(self.carried_out_by, Workload) and not issubclass(self.payload, Spec):
            raise TypeError(f"job type {self.name!r} runs a workload, so its payload has to be a Spec")


JOB_TYPES: Final[dict[str, JobType[Any, Any]]] = {}
"""All types by name, in the order in which they were registered."""


def register(job_type: JobType[Any, Any]) -> None:
    """Make a type known. Raises ValueError if there is one of that name."""
    if job_type.name in JOB_TYPES:
        raise ValueError(f"job type {job_type.name!r} is registered already")
    JOB_TYPES[job_type.name] = job_type


def requested_type(name: object, *, source: str) -> JobType[Any, Any]:
    """Return the type that a request asks for. Raises InvalidRequest, naming `source` and all types there are."""
    found = JOB_TYPES.get(name) if isinstance(name, str) else None
    if found is None:
        message = f"{shown(name)} is not a type of job; there are {', '.join(JOB_TYPES)}"
        raise invalid(source, FieldError("type", message))
    return found


def check_payload(job_type: JobType[Any, Any], payload: object, *, source: str) -> None:
    """Raise InvalidRequest, with paths below `payload`, if the type does not take this payload."""
    try:
        validated(job_type.payload, payload, source=source)
    except InvalidRequest as exc:
        raise InvalidRequest(
            str(exc), *(FieldError(f"payload.{e.path}".rstrip("."), e.message) for e in exc.errors)
        ) from exc


def is_computed(name: str) -> bool:
    """Return whether jobs of this type are carried out without a workload."""
    return name in JOB_TYPES and isinstance(JOB_TYPES[name].carried_out_by, Computed)


def seconds_of(name: str, payload: dict[str, Any]) -> float:
    """Return how long a computed job runs."""
    computed, model = _computation(name, payload)
    return computed.seconds(model)


def result_of(name: str, payload: dict[str, Any]) -> str:
    """Return the result of a computed job as JSON."""
    computed, model = _computation(name, payload)
    return json.dumps(computed.result(model), default=lambda value: value.model_dump(mode="json"))


def _computation(name: str, payload: dict[str, Any]) -> tuple[Computed[Any, Any], Any]:
    job_type = JOB_TYPES[name]
    assert isinstance(job_type.carried_out_by, Computed), f"{name} jobs need a workload"
    return job_type.carried_out_by, job_type.payload.model_validate(payload)


class EchoPayload(RootModel[dict[str, Any]]):
    """Any object."""


class SleepPayload(StrictModel):
    """How long a `sleep` job runs."""

    ms: Integer = Field(ge=0, le=86_400_000, description="milliseconds")


CONTAINER: Final[JobType[Spec, None]] = JobType(
    "container",
    "Runs a command or steps in a container, with the uploaded files if there are any.",
    payload=Spec,
    carried_out_by=Workload(),
)
ECHO: Final = JobType(
    "echo",
    "Returns its payload.",
    payload=EchoPayload,
    result=dict[str, Any],
    carried_out_by=Computed(result=lambda payload: payload.root),
)
SLEEP: Final = JobType(
    "sleep",
    "Runs for so many milliseconds.",
    payload=SleepPayload,
    result=str,
    carried_out_by=Computed(result=lambda _: "ok", seconds=lambda payload: payload.ms / 1000),
)
for _job_type in (CONTAINER, ECHO, SLEEP):
    register(_job_type)
