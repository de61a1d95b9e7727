"""Reads queries and bodies. Refuses unknown fields, what takes long to read, and clients that hardly send anything."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, ParamSpec, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from ci_common.errors import FieldError, InvalidRequest, TooLarge
from ci_common.parsing.models import invalid, validated
from ci_common.parsing.text import printable
from ci_common.parsing.values import Plain
from ci_server.http.refusals import RequestStalled

MAX_JSON_BYTES: Final = 1024 * 1024
MAX_JSON_VALUES: Final = 10_000
"""Values and names in a JSON body: reading many takes long, however few bytes they have."""
MAX_JSON_DIGITS: Final = 100
"""Digits of a number in a JSON body, in a row."""
MAX_PARAMETERS: Final = 32
STALL_SECONDS = 60.0
LEAST_BYTES = 1024**2
"""What a client must send within STALL_SECONDS: one that trickles would hold its place among the uploads for ever."""
_QUICK_BYTES: Final = 16 * 1024
"""Up to this size, a body is parsed in the event loop. A larger one takes milliseconds, so a thread parses it."""

_MAY_OVERFLOW = re.compile(rb"[0-9][eE]\+?[0-9]")
_AS_ZEROS = bytes(ord("0") if chr(code) in "123456789" else code for code in range(256))
_TOO_MANY_DIGITS = b"0" * (MAX_JSON_DIGITS + 1)

Query = TypeVar("Query", bound=BaseModel)
Given = ParamSpec("Given")
Outcome = TypeVar("Outcome")


class QueryModel(BaseModel):
    """The query of an endpoint. Unknown parameters are refused. A parameter whose field is a list may be repeated."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(QueryModel):
    """The query of an endpoint that takes none."""


class AnyQuery(BaseModel):
    """The query of an endpoint that does not read it: it may have any parameters, which are for others."""

    model_config = ConfigDict(extra="ignore")


def repeatable(model: type[BaseModel]) -> frozenset[str]:
    """Return the names of the parameters of a query that may be given several times."""
    return frozenset(name for name, field in model.model_fields.items() if get_origin(field.annotation) is list)


def read_query(request: Request, model: type[Query], *, lists: frozenset[str] = frozenset()) -> Query:
    """Return the query as a `model`; parameters in `lists` may be given several times. Raises InvalidRequest."""
    values: dict[str, Any] = {}
    if not request.scope["query_string"] or issubclass(model, AnyQuery):
        return validated(model, values, source="the query")
    if request.scope["query_string"].count(b"&") >= MAX_PARAMETERS:
        raise InvalidRequest(f"the query has more than {MAX_PARAMETERS} parameters")
    for name, value in request.query_params.multi_items():
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name not in values:
            values[name] = value
        else:
            raise invalid("the query", FieldError(printable(name), "given more than once"))
    return validated(model, values, source="the query")


async def run_apart(size: int, act: Callable[Given, Outcome], *args: Given.args, **more: Given.kwargs) -> Outcome:
    """Return what `act` returns. It runs in a thread if its input has many bytes."""
    if size <= _QUICK_BYTES:
        return act(*args, **more)
    return await asyncio.to_thread(act, *args, **more)


async def read_json_body(request: Request) -> bytes:
    """Return the request's body, of at most MAX_JSON_BYTES. Raises TooLarge, RequestStalled, ClientDisconnect."""
    body = bytearray()
    try:
        async with asyncio.timeout(STALL_SECONDS):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > MAX_JSON_BYTES:
                    raise TooLarge(f"a JSON body may have at most {MAX_JSON_BYTES} bytes")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _stalled() from None


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body's chunks. Time counts while the server waits for the client, not while it processes the bytes.

    Raises RequestStalled if less than 1 MiB comes within a minute, and ClientDisconnect.
    """
    clock = asyncio.get_running_loop().time
    chunks = request.stream()
    waited, received = 0.0, 0
    while True:
        begun = clock()
        try:
            async with asyncio.timeout(STALL_SECONDS - waited):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _stalled() from None
        waited += clock() - begun
        received += len(chunk)
        if received >= LEAST_BYTES:
            waited, received = 0.0, 0
        yield chunk


def _stalled() -> RequestStalled:
    return RequestStalled(f"less than {LEAST_BYTES} bytes of the body came within {STALL_SECONDS:g} s; send it again")


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
