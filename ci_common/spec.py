"""What a job does: `Spec` as people write it, and `ExecutionPlan` as the controller carries it out.

`Spec` is the schema of the field `spec` of a submission, of the body of `POST /jobs`, and of `ci.yaml`. The request
wins over `ci.yaml`, which wins over the defaults. The server resolves them into one `ExecutionPlan` before it stores
the job, so that later changes of defaults do not affect it.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from ci_common.environments import OptionalSetup, PlannedSetup
from ci_common.jobs import Conclusion
from ci_common.parsing.input_schema import one_or_several
from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.text import shown
from ci_common.parsing.values import ByteSize, Duration, Integer, Line, StopGrace, Text
from ci_common.spec_parts.artifacts import ArtifactGroups, PlannedArtifacts
from ci_common.spec_parts.caches import Caches, PlannedCache
from ci_common.spec_parts.concurrency import Concurrency
from ci_common.spec_parts.reports import PlannedReports, Reports
from ci_common.spec_parts.secrets import PlannedSecret, Secrets
from ci_common.spec_parts.services import Service, Services
from ci_common.spec_parts.values import FILLED_TEXT, Command, ImageReference, KernelLimits, Variables

DOWNLOADED: Final = "/ci-downloaded"
"""Where a job in a container that runs its setup sees what setups of its project have downloaded."""

_RETRIED: Final = (Conclusion.FAILED, Conclusion.ERRORED, Conclusion.TIMED_OUT)


def _check_retried(value: object) -> object:
    if value not in _RETRIED:
        raise ValueError(
            f"{shown(value)} is not a conclusion after which a job is tried again; name {_listed(_RETRIED)}"
        )
    return value


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


MAX_ATTEMPTS = 100
Retried = Annotated[
    Literal[Conclusion.FAILED, Conclusion.ERRORED, Conclusion.TIMED_OUT], BeforeValidator(_check_retried)
]
Pause = Annotated[Duration, Field(le=7 * 86_400)]
"""Seconds, more than 0 and at most a week."""
Name = Annotated[Line, Field(min_length=1, max_length=200)]
Priority = Annotated[Integer, Field(ge=-1_000_000, le=1_000_000)]
Labels = Annotated[
    dict[Line, Line],
    at_most(64),
    Field(json_schema_extra={"additionalProperties": False, "maxProperties": 64}),
]


StepCondition = Literal["success", "failure", "always"]


class Step(StrictModel):
    """One step: shell text, run by /bin/sh, stopping at the first command that fails (`set -e`)."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    name: Name | None = Field(None, description="by default `step` and its number")
    run: Annotated[Text, Field(min_length=1, description="shell text, which stops at the first command that fails")]
    condition: StepCondition = Field(
        "success",
        alias="if",
        description="after which outcome of the steps before it runs: `success`, `failure`, `always`",
    )
    continue_on_error: bool = Field(False, description="true: the job goes on, and may succeed, if this step fails")
    timeout: Duration | None = Field(None, description="seconds after which the step is ended, and has failed")
    working_directory: Annotated[Text, Field(min_length=1)] | None = Field(
        None, description="where it runs, from the project's directory"
    )
    env: Variables = Field(default_factory=dict, description="variables for this step, over those of the job")

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: object) -> object:
        """A step without a name may be written as its shell text."""
        if isinstance(value, str):
            return {"run": value}
        if not isinstance(value, dict | Step):
            raise ValueError(f"{shown(value)} is no step; write shell text, or an object with `run` and a `name`")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [FILLED_TEXT, described], "title": "Step"}


class Limits(KernelLimits):
    """The limits of a job; None means no limit."""

    log: ByteSize | None = Field(None, description="bytes of its log, as in 100m")
    workspace: ByteSize | None = Field(None, description="bytes of its workspace on disk, as in 10g")


class Retry(StrictModel):
    """The retry policy: whether another attempt follows certain conclusions. By default, none does."""

    max_attempts: Integer = Field(1, ge=1, le=MAX_ATTEMPTS, description="the first attempt counts")
    on: Annotated[tuple[Retried, ...], FailFast()] = Field(
        _RETRIED, description="the conclusions after which another attempt follows"
    )
    backoff: Pause = Field(1.0, description="seconds from the end of the first attempt to the second; then doubled")
    max_backoff: Pause = Field(300.0, description="the longest pause in seconds; not shorter than the first")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["properties"]["on"] = one_or_several(described["properties"]["on"])
        return described

    @field_validator("on", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        """One conclusion may be written without a list."""
        if isinstance(value, list | tuple) and not value:
            raise ValueError(f"the list is empty; name {_listed(_RETRIED)}, or leave it out for all of them")
        return [value] if isinstance(value, str) else value

    def longest_pause(self, attempt: int) -> float:
        """Return the longest pause in seconds between the end of `attempt`, counted from 1, and the next one."""
        return min(max(self.backoff, self.max_backoff), self.backoff * 2.0 ** (attempt - 1))


class Spec(StrictModel):
    """What to run, and how. Every field may be left out."""

    image: ImageReference | None = Field(None, description="the image that the job's container is made from")
    command: Command | None = Field(None, description="shell text, or a program and its arguments; instead of `steps`")
    steps: Annotated[list[Step], at_most(100), Field(min_length=1, json_schema_extra={"maxItems": 100})] | None = Field(
        None, description="what runs, one after the other in one container"
    )
    setup: OptionalSetup = Field(None, description="what the steps need, kept for later jobs as a prepared environment")
    fresh: bool | None = Field(None, description="true: run the setup again, although there is a prepared environment")
    installer: Literal["auto", "uv", "pip"] | None = Field(
        None,
        description="how the shell function `ci_install` of the setup and the steps installs Python packages: `auto` "
        "uses uv where it gives what pip would, and else pip",
    )
    env: Variables = Field(default_factory=dict, description="variables of the job, by name")
    secrets: Secrets = Field(
        default_factory=dict, description="secrets that the steps are given: names, or names with `env` or `file`"
    )
    untrusted: bool | None = Field(
        None, description="true: what runs is not trusted, such as a change from a fork; it gets no secrets"
    )
    timeout: Duration | None = Field(None, description="seconds from the start of the job's own code")
    no_output_timeout: Duration | None = Field(None, description="seconds without any output")
    stop_grace: StopGrace | None = Field(None, description="seconds from SIGTERM to SIGKILL where the job is stopped")
    limits: Limits = Field(Limits(), description="the most that the job may use")
    services: Services = Field(default_factory=dict, description="containers beside the job, by name")
    cache: Caches | None = Field(None, description="files that the job leaves for later jobs, found by a key")
    reports: Reports | None = Field(None, description="files that the job leaves as reports of its tests and coverage")
    artifacts: ArtifactGroups | None = Field(
        None, description="files that are kept once the job has ended: patterns, or objects with `paths`"
    )
    retry: Retry = Field(Retry(), description="whether another attempt follows one that did not succeed")
    network: bool | None = Field(None, description="false: no network at all, but for its services")
    priority: Priority | None = Field(None, description="higher ones start first; 0 without it")
    concurrency: Concurrency | None = Field(None, description="a group of jobs of which one runs at a time")
    project: Name | None = Field(None, description="a name to group jobs by")
    labels: Labels = Field(default_factory=dict, description="pairs of texts to find the job by")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["anyOf"] = [{"properties": {name: {"type": "null"}}} for name in ("command", "steps")]
        return described

    @model_validator(mode="after")
    def _one_way_to_run(self) -> "Spec":
        if self.command is not None and self.steps is not None:
            raise ValueError("give either `command` or `steps`, not both")
        return self


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedStep(_Stored):
    """One step as the script runs it: exactly one of `shell` and `argv`."""

    name: str
    shell: str | None = None
    argv: tuple[str, ...] | None = None
    stop_at_failure: bool = False
    """Run shell text under `set -e`."""
    condition: StepCondition = "success"
    """Run it only if no step before has failed, only if one has, or in both cases."""
    continue_on_error: bool = False
    """A failure of this step is none of the job's."""
    timeout: float | None = None
    """Seconds."""
    directory: str | None = None
    """Relative to the plan's directory; None means that one."""
    env: dict[str, str] = Field(default_factory=dict)
    """Over the plan's."""


class ExecutionPlan(_Stored):
    """A resolved job with a workload: nothing in it depends on a default any more."""

    version: Literal[1] = 1
    image: str
    steps: tuple[PlannedStep, ...]
    env: dict[str, str] = Field(default_factory=dict)
    directory: str = "."
    """Working directory, relative to the workspace."""
    timeout: float
    """Seconds from the start of the job's own code, in each attempt."""
    no_output_timeout: float | None = None
    """Seconds since the last output, or the start of the job's own code; None means no limit."""
    stop_grace: float | None = None
    """Seconds from SIGTERM to SIGKILL; None means the controller's CI_STOP_GRACE."""
    limits: Limits = Limits()
    retry: Retry = Retry()
    network: bool = True
    secrets: tuple[PlannedSecret, ...] = ()
    """What the steps are given, but not the setup. Their values are in no plan."""
    untrusted: bool = False
    """What runs is not trusted: it is given no secrets, and leaves no caches."""
    services: dict[str, Service] = Field(default_factory=dict)
    """Containers beside the job's, by the names under which it reaches them."""
    caches: tuple[PlannedCache, ...] = ()
    reports: PlannedReports | None = None
    """The reports that the job leaves in its workspace; those in the directory `reports` are read in any case."""
    artifacts: tuple[PlannedArtifacts, ...] = ()
    python_environment: bool = False
    """The steps install into a Python environment; runtimes without isolation give the job one of its own."""
    setup: PlannedSetup | None = None
    """None if nothing in the job can be prepared."""

    @property
    def takes_downloads(self) -> bool:
        """Whether the setup installs from what earlier ones of the project have downloaded, where that can be seen."""
        return DOWNLOADED in self.setup_text

    @property
    def setup_text(self) -> str:
        """The commands of the setup; empty without one."""
        return "\n".join(step.shell or "" for step in self.steps[: self.setup.steps if self.setup else 0])
