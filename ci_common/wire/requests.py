"""Bodies of requests, besides `Spec`."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from ci_common.configuration.retention import LONGEST_AGE
from ci_common.jobs import Conclusion
from ci_common.parsing.input_schema import one_or_several
from ci_common.parsing.models import Place, StrictModel, refused
from ci_common.parsing.text import check_text
from ci_common.parsing.values import Integer, NonNegativeDuration
from ci_common.spec import Labels, Name, Priority


def _check_texts(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload. Raises ValidationError if any text or name in it is not allowed, at any depth."""
    waiting: list[tuple[Place, Any]] = [((), payload)]
    while waiting:
        place, value = waiting.pop()
        try:
            match value:
                case str():
                    check_text(value)
                case dict():
                    waiting += [((*place, check_text(name)), entry) for name, entry in value.items()]
                case list():
                    waiting += [((*place, number), entry) for number, entry in enumerate(value)]
        except ValueError as exc:
            raise refused([(place, str(exc))]) from None
    return payload


class ComputedJobRequest(StrictModel):
    """The body of `POST /jobs` for the types without a workload (`ci_common.job_types.Computed`)."""

    type: str
    payload: Annotated[dict[str, Any], AfterValidator(_check_texts)] = Field(default_factory=dict)
    priority: Priority = 0
    project: Name | None = None
    labels: Labels = Field(default_factory=dict)


def _conclusions(value: Any) -> Any:
    """Return a list; one conclusion may be written without it. An empty list is refused: it could mean none, or all."""
    if value == []:
        raise ValueError(f"the list is empty; name {', '.join(Conclusion)}, or leave it out for all of them")
    return value if isinstance(value, list) else [value]


class CleanupRequest(StrictModel):
    """The body of `POST /jobs/cleanup`: which completed jobs to delete. All conditions have to hold."""

    older_than: Annotated[NonNegativeDuration, Field(le=LONGEST_AGE)] | None = None
    """The job ended more than so many seconds ago."""
    keep: Integer | None = Field(None, ge=0, lt=2**31)
    """The job is not among the newest so many of this project and conclusion."""
    project: Name | None = None
    conclusion: Annotated[list[Conclusion], FailFast(), BeforeValidator(_conclusions)] = Field(default_factory=list)
    dry_run: bool = False
    """Only return which jobs would be deleted."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["properties"]["conclusion"] = one_or_several(described["properties"]["conclusion"])
        described["anyOf"] = [_given("older_than"), _given("keep")]
        return described


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
