"""The models of requests and of `ci.yaml`: what they have in common, and how they report what is not valid."""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.text import printable, shown
from ci_common.parsing.values import Plain

MAX_ERRORS: Final = 20
"""The most errors that are looked for and reported in one request; more would only cost time."""
_NAMED = 3
_LONGEST_NAME: Final = 100

Place = tuple[int | str, ...]
"""The path to a field of a document: names and numbers of items, outermost first."""


class StrictModel(BaseModel):
    """A part of a request or of `ci.yaml`. Unknown fields are refused; a field left empty in YAML counts as absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_unknown_fields(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        unknown = data.keys() - cls.model_fields.keys() - field_names(cls).keys()
        if len(unknown) > MAX_ERRORS:
            named = ", ".join(printable(str(name)) for name in islice((n for n in data if n in unknown), _NAMED))
            raise ValueError(f"{len(unknown)} unknown fields ({named}, …); known are {', '.join(field_names(cls))}")
        return {name: value for name, value in data.items() if not cls._is_left_empty(name, value)}

    @classmethod
    def _is_left_empty(cls, name: str, value: object) -> bool:
        if not (isinstance(value, Plain) and value.is_null):
            return False
        field = cls.model_fields.get(field_names(cls).get(name, name))
        return field is not None and not field.is_required()


def field_names(model: type[BaseModel]) -> dict[str, str]:
    """Return the fields of a model by the names that people write."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def at_most(count: int) -> BeforeValidator:
    """Return a validator that refuses a list or mapping of more than `count` entries without looking at them."""

    def check(value: Any) -> Any:
        if isinstance(value, list | tuple | dict) and len(value) > count:
            raise ValueError(f"there are {len(value)}; at most {count} are taken")
        return value

    return BeforeValidator(check)


def refused(found: Iterable[tuple[Place, str]]) -> ValidationError:
    """Return the error for a validator to raise if several parts of its value are wrong: places and messages."""
    details = [
        InitErrorDetails(type=PydanticCustomError("refused", "{why}", {"why": why}), loc=place, input=None)
        for place, why in found
    ]
    return ValidationError.from_exception_data("value", details)


_LONGEST_MESSAGE: Final = 500
_KEY: Final = "[key]"
"""What pydantic appends to a path if the name of the entry is wrong, not its value."""

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
"""Replaces messages of pydantic that name Python types instead of text, lists and objects."""

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], data: Any, *, source: str) -> Model:
    """Return `data` as a `model`. Raises InvalidRequest with `source` and the paths of the first wrong fields."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        errors = [FieldError(path_of(place), message) for place, message in explained(model, exc)]
        raise invalid(source, *errors, count=exc.error_count()) from exc


def invalid(source: str, *errors: FieldError, count: int = 1) -> InvalidRequest:
    """Return the error for a request or file in which `count` fields are wrong, of which `errors` are the first."""
    summary = "; ".join(f"{e.path}: {e.message}" if e.path else e.message for e in errors)
    more = f"; and {count - len(errors)} more" if count > len(errors) else ""
    return InvalidRequest(f"{source} is not valid: {summary}{more}", *errors)


def path_of(place: Place) -> str:
    """Return a place in the dotted form of errors, as in `limits.memory` or `steps.0.run`."""
    return ".".join(printable(str(part)) for part in place if part != _KEY)


def explained(model: type[BaseModel], exc: ValidationError) -> Iterable[tuple[Place, str]]:
    """Yield place and message of the first wrong fields."""
    for error in exc.errors(include_url=False, include_context=True, include_input=True)[:MAX_ERRORS]:
        yield error["loc"], _explain(model, error)


def _explain(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), _model_at(model, error["loc"][:-1]))
    if error["type"] == "literal_error":
        return f"{shown(error['input'])} is not one of {error['ctx']['expected']}"
    if error["type"] in _IN_PLAIN_WORDS:
        return _IN_PLAIN_WORDS[error["type"]]
    return str(error["msg"]).removeprefix("Value error, ")[:_LONGEST_MESSAGE]


def _unknown(name: str, model: type[BaseModel] | None) -> str:
    known = list(field_names(model)) if model is not None else []
    if not known:
        return "unknown field"
    meant = get_close_matches(name.lower()[:_LONGEST_NAME], known, n=1)
    return f"unknown field; did you mean {meant[0]}?" if meant else f"unknown field; known are {', '.join(known)}"


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Return the model of the part at `place`, or None if it is not one of ours."""
    found: type[BaseModel] | None = model
    is_named = False
    for part in place:
        if is_named or isinstance(part, int) or found is None:
            is_named = False
            continue
        field = found.model_fields.get(field_names(found).get(part, part))
        if field is None:
            continue  # pydantic names the member of a union here.
        found = _model_in(field.annotation)
        is_named = _is_mapping(field.annotation)
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(get_origin(part) is dict for part in get_args(annotation))
