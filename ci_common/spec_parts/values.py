"""Types of fields that several parts of a spec have: images, commands, variables, and limits of a container."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from ci_common.parsing.models import MAX_ERRORS, Place, StrictModel, refused
from ci_common.parsing.text import check_text, shown
from ci_common.parsing.values import (
    TEXT_PATTERN,
    ByteSize,
    Integer,
    Number,
    check_argument,
    check_variable,
)

_IMAGE = re.compile(
    r"(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_VARIABLE = re.compile(r"(?!__ci_)[A-Za-z_][A-Za-z0-9_]*")
_ANY_TEXT: Final = {"type": "string", "pattern": TEXT_PATTERN}
FILLED_TEXT: Final = {"type": "string", "minLength": 1, "pattern": TEXT_PATTERN}
"""The JSON Schema of text that is not empty."""
ANY_COMMAND: Final = [FILLED_TEXT, {"type": "array", "prefixItems": [FILLED_TEXT], "items": _ANY_TEXT, "minItems": 1}]
"""The JSON Schemas of a command."""


def _check_image(text: str) -> str:
    if len(text) > 512 or not _IMAGE.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not an image reference; write it as in python:3.12-slim, "
            "ghcr.io/owner/name:tag or name@sha256:<64 hexadecimal digits>"
        )
    return text


def _as_text(value: object) -> str:
    """Return the value as text. JSON may have numbers where people mean text; YAML keeps the text as written."""
    if isinstance(value, int | float) and not isinstance(value, bool) and shown(value) == repr(value):
        return repr(value)
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; write it in quotes")
    return check_text(str(value))


def _check_variables(value: object) -> object:
    if not isinstance(value, dict):
        return value
    texts: dict[Any, str] = {}
    found: list[tuple[Place, str]] = []
    for name, given in value.items():
        try:
            texts[name] = _as_text(given)
            check_variable(str(name), texts[name])
        except ValueError as exc:
            found.append(((str(name),), str(exc)))
            if len(found) == MAX_ERRORS:
                break
    if found:
        raise refused(found)
    return texts


def _check_exportable(variables: dict[str, str]) -> dict[str, str]:
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(
                f"{shown(name)} is not a variable a shell can export; use letters, digits and _, "
                "not starting with a digit or __ci_"
            )
    return variables


def _check_command(value: object) -> object:
    if isinstance(value, str):
        words = [value]
        check_text(value)
    elif isinstance(value, list | tuple):
        words = list(value)
        for number, word in enumerate(words):
            try:
                if not isinstance(word, str):
                    raise ValueError(f"{shown(word)} is not text; write it in quotes")
                check_argument(check_text(word))
            except ValueError as exc:
                raise refused([((number,), str(exc))]) from None
    elif value is None:
        return None
    else:
        raise ValueError(f"{shown(value)} is neither text nor a list of texts")
    if not words or not words[0]:
        raise ValueError("the command is empty; give shell text, or a program and its arguments")
    return value


ImageReference = Annotated[
    str, AfterValidator(_check_image), Field(json_schema_extra={"pattern": f"^{_IMAGE.pattern}$", "maxLength": 512})
]
Command = Annotated[
    str | list[str],
    BeforeValidator(_check_command),
    WithJsonSchema({"anyOf": ANY_COMMAND}),
]
Variables = Annotated[
    dict[str, str],
    BeforeValidator(_check_variables),
    AfterValidator(_check_exportable),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {f"^{_VARIABLE.pattern}$": {"anyOf": [_ANY_TEXT, {"type": "number"}]}},
            "additionalProperties": False,
        }
    ),
]


class KernelLimits(StrictModel):
    """What the kernel holds a container to; None means no limit."""

    cpus: Number | None = Field(None, gt=0, le=1024, description="processors, fractions allowed")
    memory: ByteSize | None = Field(None, description="bytes of memory, as in 512m")
    pids: Integer | None = Field(None, gt=0, lt=2**63, description="processes and threads at once")
