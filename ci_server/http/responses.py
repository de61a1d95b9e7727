"""Answers in JSON, and what media type a client prefers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import JSONResponse, Response, StreamingResponse

from ci_common.parsing.large import is_large

_TURN_BYTES: Final = 64 * 1024
"""After writing this many bytes of a list, other requests have their turn."""
_SMALL_BYTES: Final = 1024 * 1024
_MOST_TYPES = 64
"""How many media types of a header count; browsers send fewer than ten."""
_MOST_PARAMETERS = 8


class Document(JSONResponse):
    """A JSON answer, written four times as fast as by the standard library."""

    def render(self, content: Any) -> bytes:
        """Return `content` as compact JSON."""
        return _render(content)


async def large_document(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that is `content` as JSON; where that is large, a thread writes it."""
    if not is_large(content):
        return Document(content, status, headers)
    return Response(await asyncio.to_thread(_render, content), status, headers, Document.media_type)


async def list_document(entries: Iterable[Any], headers: Mapping[str, str]) -> Response:
    """Return the answer that is a list of these entries, which together may be large."""
    parts = [b"["]
    pending = 0
    for entry in entries:
        parts += [_render(entry), b","]
        pending += len(parts[-2])
        if pending > _TURN_BYTES:
            pending = 0
            await asyncio.sleep(0)
    parts[-1:] = [b"]"] if len(parts) > 1 else [b"[]"]
    size = sum(map(len, parts))
    if size <= _SMALL_BYTES:
        return Response(b"".join(parts), headers=dict(headers), media_type=Document.media_type)
    headers = {**headers, "Content-Length": str(size)}
    return StreamingResponse(_each(parts), headers=headers, media_type=Document.media_type)


async def _each(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def _render(content: Any) -> bytes:
    try:
        return to_json(content)
    except PydanticSerializationError:
        # Halves of surrogate pairs, in jobs from before they were refused; as escapes they are valid JSON.
        return json.dumps(content, separators=(",", ":")).encode()


def accepted_types(accept: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield media type and version of what `Accept` headers name, the most preferred first.

    Headers may name thousands of types, so only the first ones of each count, and the first parameters of each type.
    """
    preferred: list[tuple[float, str, str]] = []
    for header in accept:
        for text in header.split(",", _MOST_TYPES)[:_MOST_TYPES]:
            kind, *rest = text.split(";", _MOST_PARAMETERS)[: _MOST_PARAMETERS + 1]
            parameters = dict(_parameter(one) for one in rest)
            try:
                quality = float(parameters.get("q", "1"))
            except ValueError:
                quality = 0.0
            if quality > 0:
                preferred.append((quality, kind.strip().lower(), parameters.get("version", "")))
    for _, kind, version in sorted(preferred, key=lambda each: -each[0]):
        yield kind, version


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')
