"""From pydantic's findings to the product's `InvalidRequest`, for requests and files alike."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ci_common.errors import FieldError, InvalidRequest

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], data: Any, *, source: str) -> Model:
    """Return `data` as a `model`. Raises InvalidRequest naming `source` and the path of every field at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        errors = [FieldError(".".join(map(str, e["loc"])), _explain(model, e)) for e in exc.errors()]
        summary = "; ".join(f"{e.path}: {e.message}" if e.path else e.message for e in errors)
        raise InvalidRequest(f"{source} is not valid: {summary}", *errors) from exc


def _explain(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        return f"unknown field; known are {', '.join(model.model_fields)}"
    if error["type"] == "extra_forbidden":
        return "unknown field"
    return str(error["msg"]).removeprefix("Value error, ")
