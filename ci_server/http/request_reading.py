"""Reads queries and JSON bodies, refusing what does not belong, and what would take long to read."""

import asyncio
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json
from starlette.requests import Request

from ci_common.errors import FieldError, InvalidRequest, TooLarge
from ci_common.parsing.models import invalid, validated
from ci_common.parsing.text import printable
from ci_common.parsing.values import Plain
from ci_server.http.bodies import small_body

MAX_JSON_BYTES: Final = 1024 * 1024
MAX_JSON_VALUES: Final = 10_000
"""Values and names in a JSON body: reading many takes long, however few bytes they have."""
MAX_JSON_DIGITS: Final = 100
"""Digits of a number in a JSON body, in a row."""
MAX_PARAMETERS: Final = 32
_QUICK_BYTES: Final = 16 * 1024
"""Up to so much is dealt with in the event loop; more takes milliseconds, and then a thread."""

_MAY_OVERFLOW = re.compile(rb"[0-9][eE]\+?[0-9]")
_AS_ZEROS = bytes(ord("0") if chr(code) in "123456789" else code for code in range(256))
_TOO_MANY_DIGITS = b"0" * (MAX_JSON_DIGITS + 1)

Query = TypeVar("Query", bound=BaseModel)
Given = ParamSpec("Given")
Outcome = TypeVar("Outcome")


class NoQuery(BaseModel):
    """The query of an endpoint that takes none."""

    model_config = ConfigDict(extra="forbid")


def read_query(request: Request, model: type[Query], *, lists: frozenset[str] = frozenset()) -> Query:
    """Return the query as a `model`; parameters in `lists` may be given several times. Raises InvalidRequest."""
    if not request.scope["query_string"]:
        nothing: Query = _nothing_asked(model)
        return nothing
    if request.scope["query_string"].count(b"&") >= MAX_PARAMETERS:
        raise InvalidRequest(f"the query has more than {MAX_PARAMETERS} parameters")
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name not in values:
            values[name] = value
        else:
            raise invalid("the query", FieldError(printable(name), "given more than once"))
    return validated(model, values, source="the query")


@cache
def _nothing_asked(model: type[Query]) -> Query:
    return validated(model, {}, source="the query")


async def apart(size: int, act: Callable[Given, Outcome], *args: Given.args, **more: Given.kwargs) -> Outcome:
    """Return what `act` returns, or raise what it raises. It runs in a thread where its input has many bytes."""
    if size <= _QUICK_BYTES:
        return act(*args, **more)
    return await asyncio.to_thread(act, *args, **more)


async def read_json_object(request: Request) -> dict[str, Any]:
    """Return the request's body, a JSON object. Raises InvalidRequest, TooLarge, RequestStalled."""
    raw = await read_json_body(request)
    return await apart(len(raw), parse_json_object, raw, source="the body")


async def read_json_body(request: Request) -> bytes:
    """Return the request's body, of the size that JSON may have. Raises TooLarge, RequestStalled."""
    return await small_body(request, MAX_JSON_BYTES, _too_large)


def parse_json_object(raw: bytes, *, source: str) -> dict[str, Any]:
    """Return the JSON object that `raw` holds. Raises InvalidRequest."""
    _check_cost(raw, source)
    try:
        document = from_json(raw, allow_inf_nan=False)
        if _MAY_OVERFLOW.search(raw):
            json.dumps(document, allow_nan=False)  # A number beyond all floats has been read as infinite.
    except ValueError as exc:
        raise InvalidRequest(f"{source} is not valid JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise InvalidRequest(f"{source} is JSON, but not an object")
    return document


def as_written(spec: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """Return a spec that was read from `raw`, there or in its `payload`, with the fractions in `env` as text.

    Of `3.10` a float keeps no more than `3.1`.
    """
    env = spec.get("env")
    if not isinstance(env, dict) or not any(isinstance(value, float) for value in env.values()):
        return spec
    document = json.loads(raw, parse_float=Plain)
    return {**spec, "env": document["env"] if "env" in document else document["payload"]["env"]}


def _check_cost(raw: bytes, source: str) -> None:
    """Raise InvalidRequest for so many values, or so long a number, that reading them takes long for their bytes."""
    many = len(raw) > MAX_JSON_VALUES and _count_values(raw) > MAX_JSON_VALUES
    long = _TOO_MANY_DIGITS in raw.translate(_AS_ZEROS)
    if not many and not long:
        return
    # What stands in strings does not count. Escaped quotation marks do not end them.
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if unescaped.count(b'"') > 2 * MAX_JSON_VALUES:
        raise _too_many_values(source)
    bare = b'""'.join(unescaped.split(b'"')[::2])
    if _count_values(bare) > MAX_JSON_VALUES:
        raise _too_many_values(source)
    if _TOO_MANY_DIGITS in bare.translate(_AS_ZEROS):
        raise InvalidRequest(f"{source} has a number of more than {MAX_JSON_DIGITS} digits")


def _count_values(raw: bytes) -> int:
    return sum(raw.count(mark) for mark in (b",", b":", b"[", b"{"))


def _too_many_values(source: str) -> InvalidRequest:
    return InvalidRequest(f"{source} has more than {MAX_JSON_VALUES} values and names, which is the most that is taken")


def _too_large() -> TooLarge:
    return TooLarge(f"a JSON body may have at most {MAX_JSON_BYTES} bytes")
