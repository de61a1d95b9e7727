"""What a job does: `Spec` as people write it, and `ExecutionPlan` as the controller carries it out.

`Spec` is the schema of the field `spec` of a submission, of the body of `POST /jobs`, and of `ci.yaml`. The request
wins over `ci.yaml`, which wins over the defaults. The server resolves them into one `ExecutionPlan` before it stores
the job, so that later changes of defaults do not affect it.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from ci_common.jobs import Conclusion
from ci_common.parsing.input_schema import one_or_several
from ci_common.parsing.models import MAX_ERRORS, Place, StrictModel, at_most, refused
from ci_common.parsing.text import check_text, shown
from ci_common.parsing.values import (
    TEXT_PATTERN,
    ByteSize,
    Duration,
    Integer,
    Line,
    Number,
    StopGrace,
    Text,
    check_argument,
    check_variable,
)

_IMAGE = re.compile(
    r"(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED_VARIABLES = re.compile(r"__ci_.*")
_RETRIED: Final = (Conclusion.FAILED, Conclusion.ERRORED, Conclusion.TIMED_OUT)


def _check_image(text: str) -> str:
    if len(text) > 512 or not _IMAGE.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not an image reference; write it as in python:3.12-slim, "
            "ghcr.io/owner/name:tag or name@sha256:<64 hexadecimal digits>"
        )
    return text


def _check_retried(value: object) -> object:
    if value not in _RETRIED:
        raise ValueError(
            f"{shown(value)} is not a conclusion after which a job is tried again; name {_listed(_RETRIED)}"
        )
    return value


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _as_text(value: object) -> str:
    """Return the value as text. JSON may have numbers where people mean text; YAML keeps the text as written."""
    if isinstance(value, int | float) and not isinstance(value, bool) and shown(value) == repr(value):
        return repr(value)
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; write it in quotes")
    return check_text(str(value))


def _check_variables(value: object) -> object:
    if not isinstance(value, dict):
        return value
    texts: dict[Any, str] = {}
    found: list[tuple[Place, str]] = []
    for name, given in value.items():
        try:
            texts[name] = _as_text(given)
            check_variable(str(name), texts[name])
        except ValueError as exc:
            found.append(((str(name),), str(exc)))
            if len(found) == MAX_ERRORS:
                break
    if found:
        raise refused(found)
    return texts


def _check_command(value: object) -> object:
    if isinstance(value, str):
        words = [value]
        check_text(value)
    elif isinstance(value, list | tuple):
        words = list(value)
        for number, word in enumerate(words):
            try:
                if not isinstance(word, str):
                    raise ValueError(f"{shown(word)} is not text; write it in quotes")
                check_argument(check_text(word))
            except ValueError as exc:
                raise refused([((number,), str(exc))]) from None
    elif value is None:
        return None
    else:
        raise ValueError(f"{shown(value)} is neither text nor a list of texts")
    if not words or not words[0]:
        raise ValueError("the command is empty; give shell text, or a program and its arguments")
    return value


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

ImageReference = Annotated[
    str, AfterValidator(_check_image), Field(json_schema_extra={"pattern": f"^{_IMAGE.pattern}$", "maxLength": 512})
]
Command = Annotated[
    str | list[str],
    BeforeValidator(_check_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "pattern": TEXT_PATTERN},
                {
                    "type": "array",
                    "prefixItems": [{"type": "string", "minLength": 1, "pattern": TEXT_PATTERN}],
                    "items": {"type": "string", "pattern": TEXT_PATTERN},
                    "minItems": 1,
                },
            ]
        }
    ),
]
Variables = Annotated[
    dict[str, str],
    BeforeValidator(_check_variables),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {
                "^(?!__ci_)[A-Za-z_][A-Za-z0-9_]*$": {
                    "anyOf": [{"type": "string", "pattern": TEXT_PATTERN}, {"type": "number"}]
                }
            },
            "additionalProperties": False,
        }
    ),
]


class Step(StrictModel):
    """One step: shell text, run by /bin/sh, stopping at the first command that fails (`set -e`)."""

    name: Name | None = None
    run: Annotated[Text, Field(min_length=1)]

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
        text = {"type": "string", "minLength": 1, "pattern": TEXT_PATTERN}
        return {"anyOf": [text, described], "title": "Step"}


class Limits(StrictModel):
    """The limits of a job; None means no limit."""

    cpus: Number | None = Field(None, gt=0, le=1024, description="processors, fractions allowed")
    memory: ByteSize | None = Field(None, description="bytes of memory, as in 512m")
    pids: Integer | None = Field(None, gt=0, lt=2**63, description="processes and threads at once")
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

    image: ImageReference | None = None
    command: Command | None = Field(None, description="shell text, or a program and its arguments; instead of `steps`")
    steps: Annotated[list[Step], at_most(100), Field(min_length=1, json_schema_extra={"maxItems": 100})] | None = None
    env: Variables = Field(default_factory=dict)
    timeout: Duration | None = Field(None, description="seconds from the start of the job's own code")
    no_output_timeout: Duration | None = Field(None, description="seconds without any output")
    stop_grace: StopGrace | None = Field(None, description="seconds from SIGTERM to SIGKILL where the job is stopped")
    limits: Limits = Limits()
    retry: Retry = Retry()
    network: bool | None = Field(None, description="false: no network at all")
    priority: Priority | None = None
    project: Name | None = None
    labels: Labels = Field(default_factory=dict)

    @field_validator("env")
    @classmethod
    def _exportable(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _VARIABLE.fullmatch(name) or _RESERVED_VARIABLES.fullmatch(name):
                raise ValueError(
                    f"{shown(name)} is not a variable a shell can export; use letters, digits and _, "
                    "not starting with a digit or __ci_"
                )
        return value

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
    python_environment: bool = False
    """The steps install into a Python environment; runtimes without isolation give the job one of its own."""


def plan_steps(spec: Spec) -> tuple[PlannedStep, ...] | None:
    """Return the steps in `command` or `steps`, or None if `spec` has neither."""
    if spec.command is not None:
        if isinstance(spec.command, str):
            return (PlannedStep(name="command", shell=spec.command),)
        return (PlannedStep(name="command", argv=tuple(spec.command)),)
    if spec.steps is None:
        return None
    return tuple(
        PlannedStep(name=step.name or f"step {number}", shell=step.run, stop_at_failure=True)
        for number, step in enumerate(spec.steps, start=1)
    )
