"""What the models of all answers are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

JobId = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC with `Z`."""


class Shown(BaseModel):
    """A part of an answer. Clients must ignore fields that they do not know: later versions may add some."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra=lambda schema: schema.pop("additionalProperties", None)
    )
