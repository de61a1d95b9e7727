"""The reports that a job leaves: which files they are."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from ci_common.environments import Pattern
from ci_common.parsing.input_schema import one_or_several
from ci_common.parsing.models import StrictModel, at_most

MOST_PATTERNS = 50
VARIABLE = "CI_REPORTS"
"""The variable that names, in a job, a directory outside of the project whose files are read as reports, too."""


def _several(value: object) -> object:
    """One pattern may be written without a list."""
    return [value] if isinstance(value, str) else value


Patterns = Annotated[
    list[Pattern],
    at_most(MOST_PATTERNS),
    BeforeValidator(_several),
    Field(json_schema_extra={"maxItems": MOST_PATTERNS}),
]


class Reports(StrictModel):
    """The files that a job leaves as reports, as patterns with *, ? and **, relative to the project's directory."""

    junit: Patterns = Field(default_factory=list, description="test reports: JUnit XML")
    coverage: Patterns = Field(default_factory=list, description="coverage reports: Cobertura or LCOV")
    sarif: Patterns = Field(default_factory=list, description="findings of analysers: SARIF")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["properties"] = {
            name: one_or_several(items, least=0) if "items" in items else items
            for name, items in described["properties"].items()
        }
        return described


class PlannedReports(BaseModel):
    """The reports of a resolved job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    junit: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    sarif: tuple[str, ...] = ()
