"""Prepared environments: what a job's setup made once, from which later jobs with the same key start."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.text import shown
from ci_common.parsing.values import Line, Text

MAX_PATTERNS = 100
_LONGEST_PATTERN = 1000
_MOST_FOLDERS = 50


def check_pattern(pattern: str) -> str:
    """Return a pattern for files of a project. Raises ValueError if it is not one."""
    parts = pattern.split("/")
    if not pattern or pattern.startswith("/") or ".." in parts or len(pattern) > _LONGEST_PATTERN:
        raise ValueError(
            f"{shown(pattern)} is not a pattern for files of the project; write paths relative to its directory, "
            "as in requirements.txt or requirements/*.txt"
        )
    if parts.count("**") > 1 or any("**" in part and part != "**" for part in parts) or len(parts) > _MOST_FOLDERS:
        raise ValueError(f"{shown(pattern)} is not a pattern; ** may stand once, for any number of folders")
    return pattern


Pattern = Annotated[Line, AfterValidator(check_pattern), Field(json_schema_extra={"minLength": 1})]


SetupText = Annotated[Text, Field(min_length=1)]


class SetupSpec(StrictModel):
    """What comes before the steps, and depends on the image, on itself and on the content of `inputs` alone."""

    run: Annotated[SetupText, Field(description="shell text, as of a step")]
    inputs: Annotated[list[Pattern], at_most(MAX_PATTERNS)] = Field(
        default_factory=list,
        json_schema_extra={"maxItems": MAX_PATTERNS},
        description="the files of the project that it reads, as patterns with *, ? and **",
    )
    pinned: bool = Field(False, description="the same inputs always give the same outcome, so it is never renewed")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["title"] = "Setup"
        return described


def one_setup(value: object) -> object:
    """Return `value` as an object: a setup without inputs may be written as its shell text."""
    return {"run": value} if isinstance(value, str) else value


OptionalSetup = Annotated[
    SetupSpec | None, BeforeValidator(one_setup, json_schema_input_type=SetupSpec | SetupText | None)
]


class PlannedSetup(BaseModel):
    """The setup of a resolved job, whose commands are the first steps of its plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(ge=1)
    """How many of the plan's first steps are the setup."""
    inputs: tuple[str, ...] = ()
    """The files that it reads, as paths relative to the plan's directory, sorted."""
    digest: str
    """What `ci_common.run_directory.inputs.digest_of` returned for them when the job was submitted."""
    pinned: bool = False
    """The same inputs always give the same outcome."""
    fresh: bool = False
    """The job does not start from a prepared environment; what it makes replaces the one there is."""
    verifies: bool = False
    """The job does nothing but make the setup's outcome once more, which is compared with the prepared environment."""


class Difference(BaseModel):
    """A file that differs between an environment and what its setup has made once more."""

    path: str
    how: Literal["added", "missing", "kind", "content", "mode", "owner"]
    """Only the second run has it, only the environment has it, or what of it is another."""


class Comparison(BaseModel):
    """What differs between an environment and what its setup has made once more."""

    files: int
    """How many files, directories and links the environment has."""
    different: int
    """How many of them are others."""
    first: list[Difference]
    """The first of those, in the order of their paths."""
    ignored: dict[str, int]
    """How many differ that say nothing about the setup, by kind: `compiled` modules of Python, `logs` of systems."""


class Verification(BaseModel):
    """The result of a job that verifies a setup, as JSON."""

    environment: str
    """The key of the environment."""
    same: bool | None
    """Whether the setup has made the same; None if that could not be found out."""
    message: str | None = None
    """Why it could not be found out."""
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A prepared environment. The controller writes its row; the API may delete it."""

    key: str
    owner: str
    project: str | None
    """Only jobs of this owner and this project use it."""
    job_id: str
    """The last job that used it, or that it was made for."""
    runtime: str
    reference: str
    """Where the runtime has it: the id of an image."""
    image: str
    """The image that it was made from, as the job named it."""
    setup: str
    """The commands that made it."""
    inputs: tuple[str, ...]
    pinned: bool
    created_time: datetime
    last_used_time: datetime
    size: int
    """Bytes on disk, beyond the image's own."""
    seconds: float
    """How long the setup took."""
