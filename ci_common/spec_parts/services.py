"""Services: containers that run beside a job, such as a database, and when each of them is ready."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.text import shown
from ci_common.parsing.values import Duration, Integer
from ci_common.spec_parts.values import ANY_COMMAND, Command, ImageReference, KernelLimits, Variables

MOST_SERVICES: Final = 10
READY_SECONDS: Final = 60.0
_NAME: Final = re.compile(r"(?!localhost$)[a-z]([a-z0-9_-]{0,30}[a-z0-9])?")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{shown(name)} is no name of a service; use at most 32 lower-case letters, digits, - and _, beginning "
            "with a letter and not ending in - or _, and not localhost"
        )
    return name


class Health(StrictModel):
    """How to find out whether a service is ready: a command in its container that exits with 0, or a port."""

    command: Command | None = Field(None, description="shell text, or a program and its arguments")
    port: Integer | None = Field(None, ge=1, le=65535, description="the TCP port that takes connections")

    @model_validator(mode="before")
    @classmethod
    def _command_alone(cls, value: object) -> object:
        """A command may be written without an object around it."""
        if isinstance(value, str | list | tuple):
            return {"command": value}
        if not isinstance(value, dict | Health):
            raise ValueError(f"{shown(value)} is no check; write a command, or an object with `command` or `port`")
        return value

    @model_validator(mode="after")
    def _one_check(self) -> "Health":
        if (self.command is None) == (self.port is None):
            raise ValueError("give either `command` or `port`")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        checks = [{"required": [name], "properties": {other: {"type": "null"}, name: {"not": {"type": "null"}}}}
                  for name, other in (("command", "port"), ("port", "command"))]  # fmt: skip
        return {"anyOf": [*ANY_COMMAND, {**described, "anyOf": checks}], "title": "Health"}


class Service(StrictModel):
    """A container beside the job, which reaches it by its name."""

    image: Annotated[ImageReference, Field(description="the image of the service")]
    env: Variables = Field(default_factory=dict, description="variables of the service, by name")
    command: Command | None = Field(None, description="what to run instead of the image's own command")
    health: Health | None = Field(None, description="when it is ready; by default what the image says, else at once")
    ready_timeout: Duration = Field(READY_SECONDS, le=3600, description="the most seconds until it is ready")
    limits: KernelLimits = Field(KernelLimits(), description="the most that the service may use")


ServiceName = Annotated[str, AfterValidator(_check_name), Field(json_schema_extra={"pattern": f"^{_NAME.pattern}$"})]
Services = Annotated[
    dict[ServiceName, Service],
    at_most(MOST_SERVICES),
    Field(json_schema_extra={"additionalProperties": False, "maxProperties": MOST_SERVICES}),
]
