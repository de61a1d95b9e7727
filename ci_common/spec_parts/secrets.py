"""Secrets that a job is given, by name: each as a variable, or as a file."""

import re
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema

from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.text import shown
from ci_common.parsing.values import Line
from ci_common.secrets.stored import NAME_PATTERN

MOST_SECRETS: Final = 50
VARIABLE: Final = "CI_SECRETS"
"""The variable that names the directory with the secrets that are files."""
_NAME: Final = re.compile(NAME_PATTERN)
_TARGET: Final = re.compile(r"(?!__ci_|CI_)[A-Za-z_][A-Za-z0-9_]*")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{shown(name)} is no name of a secret; use letters, digits and _, not starting with a digit")
    return name


def _check_variable_name(name: str) -> str:
    if not _TARGET.fullmatch(name):
        raise ValueError(
            f"{shown(name)} is no variable for a secret; use letters, digits and _, not starting with a digit, CI_ or "
            "__ci_"
        )
    return name


def _check_file(name: str) -> str:
    if not _FILE.fullmatch(name):
        raise ValueError(
            f"{shown(name)} is no name of a file in $CI_SECRETS; use at most 100 letters, digits, ., _ and -, "
            "without a directory"
        )
    return name


class SecretUse(StrictModel):
    """How a job gets a secret: as a variable, by default of the same name, or as a file in `$CI_SECRETS`."""

    env: (
        Annotated[
            Line, AfterValidator(_check_variable_name), Field(json_schema_extra={"pattern": f"^{_TARGET.pattern}$"})
        ]
        | None
    ) = Field(None, description="the variable that has it; by default the secret's name")
    file: (
        Annotated[Line, AfterValidator(_check_file), Field(json_schema_extra={"pattern": f"^{_FILE.pattern}$"})] | None
    ) = Field(None, description="the file that has it instead, in the directory that `$CI_SECRETS` names")

    @model_validator(mode="before")
    @classmethod
    def _variable_alone(cls, value: object) -> object:
        """The name of a variable may be written without an object around it."""
        if value is None:
            return {}
        if isinstance(value, str):
            return {"env": value}
        if not isinstance(value, dict | SecretUse):
            raise ValueError(f"{shown(value)} is no way to give a secret; write a variable, or an object with `file`")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> "SecretUse":
        if self.env is not None and self.file is not None:
            raise ValueError("give either `env` or `file`")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        null = {"type": "null"}
        ways = [{"properties": {"env": null}}, {"properties": {"file": null}}]
        variable = {"type": "string", "pattern": f"^{_TARGET.pattern}$"}
        return {"anyOf": [null, variable, {**described, "anyOf": ways}], "title": "SecretUse"}


def _from_list(value: object) -> object:
    """Names alone may be written as a list."""
    if not isinstance(value, list | tuple):
        return value
    for name in value:
        if not isinstance(name, str):
            raise ValueError(
                f"{shown(name)} is no name of a secret; write a list of names, or names with their targets"
            )
    if len(set(value)) < len(value):
        raise ValueError("the list names a secret twice")
    return dict.fromkeys(value)


def _check_targets(secrets: dict[str, SecretUse]) -> dict[str, SecretUse]:
    targets: set[tuple[str, str]] = set()
    for name, use in secrets.items():
        if use.file is None:
            _check_variable_name(use.env or name)
        target = ("file", use.file) if use.file is not None else ("env", use.env or name)
        if target in targets:
            raise ValueError(f"two secrets are given as the {target[0].replace('env', 'variable')} {target[1]}")
        targets.add(target)
    return secrets


SecretName = Annotated[str, AfterValidator(_check_name), Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})]
_NAMES: Final = {
    "type": "array",
    "items": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
    "uniqueItems": True,
    "maxItems": MOST_SECRETS,
}


class _AlsoList:
    """In the JSON Schema, a list of names besides the object."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [_NAMES, handler(schema)]}


Secrets = Annotated[
    dict[SecretName, SecretUse],
    at_most(MOST_SECRETS),
    Field(json_schema_extra={"additionalProperties": False, "maxProperties": MOST_SECRETS}),
    BeforeValidator(_from_list),
    AfterValidator(_check_targets),
    _AlsoList(),
]


class PlannedSecret(BaseModel):
    """A secret of a job: which one it is was decided when the job was submitted, its value when it starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    project: str | None = None
    """Whose secret it is; None for one of no project."""
    env: str | None = None
    file: str | None = None

    @property
    def target(self) -> str:
        """Where the job finds it, for people."""
        return f"${self.env}" if self.file is None else f"$CI_SECRETS/{self.file}"
