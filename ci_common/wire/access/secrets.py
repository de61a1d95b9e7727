"""Secrets over HTTP: the body of a request, and what answers show. No answer has a value."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from ci_common.parsing.models import StrictModel
from ci_common.secrets.stored import NAME_PATTERN, StoredSecret
from ci_common.secrets.values import MOST_BYTES, MOST_CHARACTERS, check_reference, check_value, why_not_masked
from ci_common.times import to_rfc3339
from ci_common.wire.parts import Instant, Shown

_REFERENCE = '^(env:[A-Za-z_][A-Za-z0-9_]*|file:/[ -~]+|vault:[!-"$-.0->@-~]+(/[!-"$-.0->@-~]+)+#[!-"$-~]+)$'
"""References as the JSON Schema describes them: in ASCII. Others are taken, too, if they can be printed."""
_ONE = "give either a `value`, or a `reference` to one that is kept elsewhere"


class SecretRequest(StrictModel):
    """What a secret is to be: a value, or where it is kept."""

    value: (
        Annotated[str, AfterValidator(check_value), Field(json_schema_extra={"minLength": 1, "maxLength": MOST_BYTES})]
        | None
    ) = Field(None, description="the value, which no answer ever has")
    reference: (
        Annotated[
            str,
            AfterValidator(check_reference),
            Field(json_schema_extra={"maxLength": MOST_CHARACTERS, "pattern": _REFERENCE}),
        ]
        | None
    ) = Field(None, description="where the value is kept: `env:NAME`, `file:/path` or `vault:MOUNT/PATH#FIELD`")
    masked: bool = Field(
        True, description="false: take a value that cannot be masked, such as a short one, and show it in logs"
    )
    existing: bool = Field(False, description="true: only if there is a secret with this name")

    @model_validator(mode="after")
    def _check_together(self) -> "SecretRequest":
        if (self.value is None) == (self.reference is None):
            raise ValueError(_ONE)
        if self.value is not None and self.masked and (why := why_not_masked(self.value)) is not None:
            raise ValueError(
                f"the value {why}, so masking it would spoil the logs and tell what it is; choose a longer one, or say "
                "`masked: false` (`--unmasked`), with which it is shown wherever a job prints it"
            )
        return self

    def __repr__(self) -> str:
        return "SecretRequest(...)"

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        described: dict[str, Any] = handler.resolve_ref_schema(handler(schema))
        null = {"type": "null"}
        described["oneOf"] = [
            {"required": ["value"], "properties": {"value": {"not": null}, "reference": null}},
            {"required": ["reference"], "properties": {"reference": {"not": null}, "value": null}},
        ]
        return described


class SecretView(Shown):
    """A secret, without its value."""

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    project: str | None = Field(description="whose jobs get it; null for the jobs of all projects, and of none")
    reference: str | None = Field(description="where its value is; null if it is kept here")
    masked: bool = Field(description="whether it is masked in what jobs show")
    created: Instant
    created_by: str
    changed: Instant
    changed_by: str


def secret_on_wire(secret: StoredSecret) -> dict[str, Any]:
    """Return a secret as the API shows it."""
    return {
        "name": secret.name,
        "project": secret.project,
        "reference": secret.reference,
        "masked": secret.is_masked,
        "created": to_rfc3339(secret.created_time),
        "created_by": secret.created_by,
        "changed": to_rfc3339(secret.changed_time),
        "changed_by": secret.changed_by,
    }
