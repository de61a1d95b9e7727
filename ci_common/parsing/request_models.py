"""What the models of requests and of `ci.yaml` have in common: how they refuse, and what they take for left out."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ci_common.parsing.scalars import Plain
from ci_common.parsing.text import printable

MAX_ERRORS: Final = 20
"""Errors of one request that are told, and looked for; the rest would only cost time."""
_NAMED = 3

Place = tuple[int | str, ...]
"""Which field of a document: names and numbers of items, from the outside in."""


class Asked(BaseModel):
    """A part of a request or of `ci.yaml`. Unknown fields are refused; a field left empty in YAML is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_unknown_fields(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        unknown = data.keys() - cls.model_fields.keys()
        if len(unknown) > MAX_ERRORS:
            named = ", ".join(printable(str(name)) for name in islice((n for n in data if n in unknown), _NAMED))
            raise ValueError(f"{len(unknown)} unknown fields ({named}, …); known are {', '.join(cls.model_fields)}")
        return {name: value for name, value in data.items() if not cls._is_left_empty(name, value)}

    @classmethod
    def _is_left_empty(cls, name: str, value: object) -> bool:
        field = cls.model_fields.get(name)
        return isinstance(value, Plain) and value.is_null and field is not None and not field.is_required()


def at_most(count: int) -> BeforeValidator:
    """Return a validator that refuses a list or mapping of more than `count` entries before it looks at any."""

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple | dict) and len(value) > count:
            raise ValueError(f"there are {len(value)}; at most {count} are taken")
        return value

    return BeforeValidator(check)


def refused(found: Iterable[tuple[Place, str]]) -> ValidationError:
    """Return the error with which a validator refuses several parts of its value, each with what is wrong with it."""
    details = [
        InitErrorDetails(type=PydanticCustomError("refused", "{why}", {"why": why}), loc=place, input=None)
        for place, why in found
    ]
    return ValidationError.from_exception_data("value", details)
