"""What requests are made of: the types of their bodies, and their headers."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema

from ci_common.parsing.request_models import Asked
from ci_common.parsing.text_fields import TEXT_PATTERN
from ci_common.spec import Labels, Name, Priority, Spec
from ci_common.wire import SleepPayload

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Last-Event-ID": {
        "description": "The `id` of the last event that the reader has, as it came.",
        "schema": {"type": "string", "pattern": "^(?:[1-9][0-9]{0,2}-)?[0-9]{1,18}$"},
    },
    "Range": {
        "description": "The part that is wanted (RFC 9110). Several ranges, or other units, are answered by the whole.",
        "schema": {"type": "string", "examples": ["bytes=0-1023", "bytes=-512"]},
    },
    "If-Range": {
        "description": "An `ETag`: `Range` counts only if the log still has it.",
        "schema": {"type": "string"},
    },
}
"""Headers of requests as OpenAPI describes them."""
_TEXT: Final = {"type": "string", "pattern": TEXT_PATTERN}


class UploadForm(BaseModel):
    """The form of an upload."""

    model_config = ConfigDict(extra="forbid")
    file: Annotated[bytes, Field(description="the project as a zip archive", json_schema_extra={"format": "binary"})]
    spec: Spec | None = Field(None, description="what to run and how, as JSON")


class CommandSpec(Spec):
    """What to run and how, without an uploaded project: `command` or `steps` must be there."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        null = {"type": "null"}
        described["oneOf"] = [
            {"required": [name], "properties": {name: {"not": null}, other: null}}
            for name, other in (("command", "steps"), ("steps", "command"))
        ]
        return described


class ContainerJob(CommandSpec):
    """A job that runs in a container."""

    type: Literal["container"] = "container"


class ContainerPayloadJob(Asked):
    """The same, with the fields under `payload`."""

    type: Literal["container"] = "container"
    payload: CommandSpec


class EchoPayload(BaseModel):
    """Any object. All texts in it may have no control characters other than tab and line end."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "object", "propertyNames": _TEXT, "additionalProperties": _any_json(3)}


def _any_json(depth: int) -> dict[str, Any]:
    simple: list[dict[str, Any]] = [{"type": ["null", "boolean", "number"]}, _TEXT]
    if depth == 0:
        return {"anyOf": simple}
    inner = _any_json(depth - 1)
    nested = [
        {"type": "array", "items": inner},
        {"type": "object", "propertyNames": _TEXT, "additionalProperties": inner},
    ]
    return {"anyOf": [*simple, *nested]}


def job_request_type() -> Any:
    """Return the type of the body of `POST /jobs`: a union over the types of jobs."""
    computed = [
        create_model(
            f"{name.capitalize()}Job",
            __base__=Asked,
            __doc__=f"A job of the type `{name}`.",
            type=(Any, Field(json_schema_extra={"const": name})),
            payload=payload,
            priority=(Priority, 0),
            project=(Name | None, None),
            labels=(Labels, Field(default_factory=dict)),
        )
        for name, payload in (("echo", (EchoPayload, {})), ("sleep", (SleepPayload, ...)))
    ]
    union: Any = ContainerJob | ContainerPayloadJob
    for model in computed:
        union |= model
    return union
