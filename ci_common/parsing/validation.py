"""From pydantic's findings to the product's `InvalidRequest`, for requests and files alike."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.request_models import MAX_ERRORS, Place
from ci_common.parsing.text import printable

Locate = Callable[[Sequence[Place]], Sequence[str]]
"""Tells for each of some places of a document where it stands in its file, as in `line 3, column 5`, or nothing."""

_LONGEST_MESSAGE: Final = 500
_KEY: Final = "[key]"
"""What pydantic puts behind the name of an entry whose name is at fault."""

_IN_PLAIN_WORDS: Final = {
    "extra_forbidden": "unknown field",
    "missing": "it is missing",
    "too_short": "it is empty",
    "string_too_short": "it is empty",
    "string_type": "it is not text",
    "bool_parsing": "it is not a boolean; write true or false",
    "bool_type": "it is not a boolean; write true or false",
    "list_type": "it is not a list",
    "dict_type": "it is not an object with names and values",
    "model_type": "it is not an object with names and values",
    "model_attributes_type": "it is not an object with names and values",
}
"""What pydantic says of these speaks of Python, and not of a document's text, lists and objects."""

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], data: Any, *, source: str, locate: Locate | None = None) -> Model:
    """Return `data` as a `model`. Raises InvalidRequest naming `source` and the paths of the first fields at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise invalid(source, *_errors(model, exc, locate), count=exc.error_count()) from exc


def invalid(source: str, *errors: FieldError, count: int = 1) -> InvalidRequest:
    """Return the error for a request or file with these fields at fault, the first ones of `count`."""
    summary = "; ".join(f"{e.path}: {e.message}" if e.path else e.message for e in errors)
    more = f"; and {count - len(errors)} more" if count > len(errors) else ""
    return InvalidRequest(f"{source} is not valid: {summary}{more}", *errors)


def path_of(place: Place) -> str:
    """Return a place as errors name it, dotted, as in `limits.memory` or `steps.0.run`."""
    return ".".join(printable(str(part)) for part in place if part != _KEY)


def _errors(model: type[BaseModel], exc: ValidationError, locate: Locate | None) -> list[FieldError]:
    found = exc.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
    places = [error["loc"] for error in found]
    located = [""] * len(places) if locate is None else locate(places)
    return [
        FieldError(path_of(place), _explain(model, error) + (f" ({where})" if where else ""))
        for error, place, where in zip(found, places, located, strict=True)
    ]


def _explain(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        return f"unknown field; known are {', '.join(model.model_fields)}" if model.model_fields else "unknown field"
    if error["type"] in _IN_PLAIN_WORDS:
        return _IN_PLAIN_WORDS[error["type"]]
    return str(error["msg"]).removeprefix("Value error, ")[:_LONGEST_MESSAGE]
