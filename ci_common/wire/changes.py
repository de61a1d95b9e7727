"""The body of `POST /jobs/{id}/retry`: in what the new job differs from the one that it repeats."""

from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.values import Duration, StopGrace
from ci_common.spec import Labels, Limits, Name, Priority, Retry, Step
from ci_common.spec_parts.values import Command, ImageReference, Variables


class RetryChanges(StrictModel):
    """Fields of a spec that are to be others than in the job before. What is left out stays as it was.

    `env`, `labels`, and the fields of `limits` and `retry` are merged one by one.
    """

    image: ImageReference | None = None
    command: Command | None = Field(None, description="instead of the steps behind the setup")
    steps: Annotated[list[Step], at_most(100), Field(min_length=1, json_schema_extra={"maxItems": 100})] | None = Field(
        None, description="instead of the steps behind the setup"
    )
    env: Variables = Field(default_factory=dict)
    timeout: Duration | None = None
    no_output_timeout: Duration | None = None
    stop_grace: StopGrace | None = None
    limits: Limits = Limits()
    retry: Retry = Retry()
    network: bool | None = None
    priority: Priority | None = None
    project: Name | None = None
    labels: Labels = Field(default_factory=dict)
    fresh: bool | None = Field(None, description="true: run the setup again, although there is a prepared environment")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        given = {"not": {"type": "null"}}
        described["not"] = {"required": ["command", "steps"], "properties": {"command": given, "steps": given}}
        return described

    @model_validator(mode="after")
    def _one_way_to_run(self) -> "RetryChanges":
        if self.command is not None and self.steps is not None:
            raise ValueError("give either `command` or `steps`, not both")
        return self
