"""Artifacts: files that are kept of what a job leaves in its workspace."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from ci_common.parsing.globs import LONGEST_PATTERN, Glob
from ci_common.parsing.input_schema import one_or_several
from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.values import Duration, Line

MOST_GROUPS: Final = 20
LONGEST_RETENTION: Final = 100 * 365 * 86_400
"""Seconds, as of the retention of jobs."""
MOST_PATTERNS: Final = 100
EXCLUDES: Final = "!"
"""What a pattern begins with whose matches are not taken."""
PLAIN_PATTERN: Final = r"^(?:[A-Za-z0-9_*?-][A-Za-z0-9_.?-]*/)*(?:\*\*|[A-Za-z0-9_?-][A-Za-z0-9_.?-]*)$"
"""What the JSON Schema of a pattern says: some of the patterns that are taken."""
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"

When = Literal["success", "failure", "always"]


def _check_pattern(pattern: str) -> str:
    Glob(pattern.removeprefix(EXCLUDES))
    return pattern


def _one_pattern(value: object) -> object:
    return [value] if isinstance(value, str) else value


ArtifactPattern = Annotated[
    Line,
    AfterValidator(_check_pattern),
    Field(
        json_schema_extra={
            "pattern": PLAIN_PATTERN.replace("^", f"^{EXCLUDES}?", 1),
            "minLength": 1,
            "maxLength": LONGEST_PATTERN,
        }
    ),
]


class ArtifactSpec(StrictModel):
    """A group of files to be kept once the job has ended."""

    name: Annotated[str, Field(pattern=_NAME)] | None = Field(
        None, description="what the group is called: letters, digits, and after the first `_`, `.` and `-`"
    )
    paths: Annotated[list[ArtifactPattern], at_most(MOST_PATTERNS), BeforeValidator(_one_pattern)] = Field(
        min_length=1,
        json_schema_extra={"maxItems": MOST_PATTERNS},
        description="patterns with *, ? and **, relative to the project's directory; those with ! leave files out",
    )
    when: When = Field("always", description="after which ends of the job they are kept")
    retention: Annotated[Duration, Field(le=LONGEST_RETENTION)] | None = Field(
        None, description="seconds from the end of the job for which they are kept, as in 30d; not longer than the job"
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["title"] = "Artifacts"
        described["properties"]["paths"] = one_or_several(described["properties"]["paths"])
        return described


def _grouped(value: object) -> object:
    """Return groups: patterns that stand beside them are one group more."""
    if not isinstance(value, list | tuple):
        return value
    patterns = [entry for entry in value if isinstance(entry, str)]
    groups = [entry for entry in value if not isinstance(entry, str)]
    if not patterns:
        return groups
    return [*groups, {"paths": patterns}]


ArtifactGroups = Annotated[
    list[ArtifactSpec],
    at_most(MOST_GROUPS),
    BeforeValidator(_grouped, json_schema_input_type=list[ArtifactSpec | ArtifactPattern]),
]


class PlannedArtifacts(BaseModel):
    """A group of artifacts of a resolved job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    take: tuple[str, ...]
    """Patterns for paths that are relative to the plan's directory."""
    leave: tuple[str, ...] = ()
    """Patterns for paths that are not taken, whatever else matches them."""
    when: When = "always"
    retention: float | None = None
    """Seconds from the end of the attempt; None means CI_ARTIFACTS_RETENTION."""


def planned_artifacts(groups: list[ArtifactSpec]) -> tuple[PlannedArtifacts, ...]:
    """Return the groups as the controller gets them. A single group that only leaves files out takes all others."""
    rest = ("**",) if len(groups) == 1 else ()
    return tuple(
        PlannedArtifacts(
            name=group.name,
            take=tuple(pattern for pattern in group.paths if not pattern.startswith(EXCLUDES)) or rest,
            leave=tuple(pattern.removeprefix(EXCLUDES) for pattern in group.paths if pattern.startswith(EXCLUDES)),
            when=group.when,
            retention=group.retention,
        )
        for group in groups
    )
