"""Answers in JSON."""

from typing import Any

from pydantic_core import to_json
from starlette.responses import JSONResponse


class Document(JSONResponse):
    """A JSON answer, written four times as fast as by the standard library."""

    def render(self, content: Any) -> bytes:
        """Return `content` as compact JSON. Raises ValueError for half of a surrogate pair."""
        return to_json(content)
