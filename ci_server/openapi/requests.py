"""What requests are made of: the types of their bodies, and their headers."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from ci_common.environments import Pattern, SetupSpec, SetupText, one_setup
from ci_common.job_types import JOB_TYPES, JobType, Workload
from ci_common.parsing.input_schema import BOOLEAN
from ci_common.parsing.models import StrictModel
from ci_common.parsing.values import TEXT_PATTERN
from ci_common.spec import Labels, Name, Priority, Spec

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {
        "description": "A key that the client has made for this submission, such as a UUID. Sent again with it, the "
        "submission makes no second job.",
        "schema": {"type": "string", "pattern": "^[!-~](?:[ -~]{0,253}[!-~])?$"},
    },
    "Last-Event-ID": {
        "description": "The `id` of the last event that the reader has, as it came.",
        "schema": {"type": "string", "pattern": "^(?:(?:[1-9][0-9]{0,2}-)?[0-9]{1,18})?$"},
    },
    "Range": {
        "description": "The part that is wanted (RFC 9110). Several ranges, or other units, are answered by the whole.",
        "schema": {"type": "string", "examples": ["bytes=0-1023", "bytes=-512"]},
    },
    "If-None-Match": {
        "description": "One or more `ETag`s: the answer is 304 if the content still has one of them.",
        "schema": {"type": "string"},
    },
    "If-Range": {
        "description": "An `ETag`: `Range` counts only if the content still has it.",
        "schema": {"type": "string"},
    },
}
"""Headers of requests as OpenAPI describes them."""
ANY_JSON: Final = "Json"
"""The name of the schema of any JSON."""
_TEXT: Final = {"type": "string", "pattern": TEXT_PATTERN}
_REFERENCE: Final = {"$ref": f"#/components/schemas/{ANY_JSON}"}
ANY_JSON_SCHEMA: Final = {
    "description": "Any JSON. Its texts have no control characters other than tab and line end.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        _TEXT,
        {"type": "array", "items": _REFERENCE},
        {"type": "object", "propertyNames": _TEXT, "additionalProperties": _REFERENCE},
    ],
}
AnyJobType = JobType[Any, Any]


class InputSchema(GenerateJsonSchema):
    """Writes what requests may have exactly, and leaves out the titles that repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def bool_schema(self, schema: Any) -> dict[str, Any]:
        described = super().bool_schema(schema)
        return dict(BOOLEAN) if self.mode == "validation" else described

    def any_schema(self, schema: Any) -> dict[str, Any]:
        described = super().any_schema(schema)
        return dict(_REFERENCE) if self.mode == "validation" else described

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        described = super().dict_schema(schema)
        if self.mode == "validation" and "patternProperties" not in described:
            described.setdefault("propertyNames", _TEXT)
        return described


class UploadForm(BaseModel):
    """The form of an upload."""

    model_config = ConfigDict(extra="forbid")
    file: Annotated[bytes, Field(description="the project as a zip archive", json_schema_extra={"format": "binary"})]
    spec: Spec = Field(default_factory=Spec, description="what to run and how, as JSON")


class CommandSetup(SetupSpec):
    """What comes before the steps. Without an upload it has no inputs, since there are no files."""

    inputs: list[Pattern] = Field(
        default_factory=list, json_schema_extra={"maxItems": 0}, description="none: there are no files"
    )


class CommandSpec(Spec):
    """What to run and how, without an uploaded project: `command` or `steps` must be there."""

    setup: Annotated[
        CommandSetup | None, BeforeValidator(one_setup, json_schema_input_type=CommandSetup | SetupText | None)
    ] = Field(None, description="what the steps need, kept for later jobs as a prepared environment")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = super().__get_pydantic_json_schema__(schema, handler)
        null = {"type": "null"}
        described["oneOf"] = [
            {"required": [name], "properties": {name: {"not": null}, other: null}}
            for name, other in (("command", "steps"), ("steps", "command"))
        ]
        return described


def job_request_type() -> Any:
    """Return the type of the body of `POST /jobs`: a union over the types of jobs."""
    union: Any = None
    for job_type in JOB_TYPES.values():
        for model in _workload_models(job_type) if isinstance(job_type.carried_out_by, Workload) else _models(job_type):
            union = model if union is None else union | model
    return union


def _workload_models(job_type: AnyJobType) -> Iterator[type[BaseModel]]:
    """Yield the two ways to write a job with a workload: the fields of its spec beside `type`, or below `payload`."""
    name = job_type.name
    named = (_named(name), name)
    yield create_model(f"{_title(name)}Job", __base__=CommandSpec, __doc__=job_type.summary, type=named)
    about = "The same, with the fields of the spec below `payload`."
    yield create_model(
        f"{_title(name)}PayloadJob", __base__=StrictModel, __doc__=about, type=named, payload=(CommandSpec, ...)
    )


def _models(job_type: AnyJobType) -> Iterator[type[BaseModel]]:
    name, payload = job_type.name, job_type.payload
    try:
        payload.model_validate({})
        default: Any = {}
    except ValidationError:
        default = ...
    yield create_model(
        f"{_title(name)}Job",
        __base__=StrictModel,
        __doc__=job_type.summary,
        type=(_named(name), ...),
        payload=(payload, default),
        priority=(Priority, 0),
        project=(Name | None, None),
        labels=(Labels, Field(default_factory=dict)),
    )


def _named(name: str) -> Any:
    return Annotated[str, WithJsonSchema({"const": name})]


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.replace(".", "_").split("_"))
