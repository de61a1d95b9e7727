"""Reads queries and JSON bodies, refusing what does not belong."""

import json
import re
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json
from starlette.requests import Request

from ci_common.errors import FieldError, InvalidRequest, TooLarge
from ci_common.validation import validated
from ci_server.bodies import small_body

MAX_JSON_BYTES = 1024 * 1024

_MAY_OVERFLOW = re.compile(rb"\d[eE]\+?\d|\d{309}")

Query = TypeVar("Query", bound=BaseModel)


class NoQuery(BaseModel):
    """The query of an endpoint that takes none."""

    model_config = ConfigDict(extra="forbid")


def read_query(request: Request, model: type[Query], *, lists: frozenset[str] = frozenset()) -> Query:
    """Return the query as a `model`; parameters in `lists` may be given several times. Raises InvalidRequest."""
    if not request.scope["query_string"]:
        nothing: Query = _nothing_asked(model)
        return nothing
    values: dict[str, Any] = {}
    for name in request.query_params:
        given = request.query_params.getlist(name)
        if name in lists:
            values[name] = given
        elif len(given) == 1:
            values[name] = given[0]
        else:
            message = "given more than once"
            raise InvalidRequest(f"the query is not valid: {name}: {message}", FieldError(name, message))
    return validated(model, values, source="the query")


@cache
def _nothing_asked(model: type[Query]) -> Query:
    return validated(model, {}, source="the query")


async def read_json_object(request: Request) -> dict[str, Any]:
    """Return the request's body, a JSON object. Raises InvalidRequest, TooLarge, RequestStalled."""
    return parse_json_object(await small_body(request, MAX_JSON_BYTES, _too_large), source="the body")


def parse_json_object(raw: bytes, *, source: str) -> dict[str, Any]:
    """Return the JSON object that `raw` holds. Raises InvalidRequest."""
    try:
        document = from_json(raw, allow_inf_nan=False)
        if _MAY_OVERFLOW.search(raw):
            json.dumps(document, allow_nan=False)  # A number beyond all floats has been read as infinite.
    except ValueError as exc:
        raise InvalidRequest(f"{source} is not valid JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise InvalidRequest(f"{source} is JSON, but not an object")
    return document


def _too_large() -> TooLarge:
    return TooLarge(f"a JSON body may have at most {MAX_JSON_BYTES} bytes")
