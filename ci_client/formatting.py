"""Durations, names and tables as text for people."""

import re
import unicodedata
from collections.abc import Sequence

from ci_client.escapes import visible

_GAP = "  "
_NUMBERED_STEP = re.compile(r"step [0-9]+")
_NO_WIDTH = "\u200c\u200d\ufe0e\ufe0f"


def span(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count_of(count: int, thing: str) -> str:
    """Return a number of things for people, as in `1 job` and `2 jobs`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def step_title(name: str) -> str:
    """Return a step's name for a sentence. The server names steps without a name `step 1` and so on."""
    return name if _NUMBERED_STEP.fullmatch(name) else f"step {name}"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns. Line ends inside a cell are written out."""
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        _GAP.join(cell + " " * (width - text_width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def text_width(text: str) -> int:
    """Return how many columns of a terminal a text without control characters takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or char in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
