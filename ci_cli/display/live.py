"""Lines at the bottom of a terminal that are drawn again and again, below what is written."""

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from ci_cli.console import in_colour, is_terminal, say_raw
from ci_client.escapes import visible

_LEAST_COLUMNS = 20
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_SPINNER = "|/-\\"


class Row(NamedTuple):
    """A line, and the style of all of it: parameters of SGR, or nothing."""

    text: str
    style: str = ""


def can_draw() -> bool:
    """Return whether standard error is a terminal whose cursor can be moved."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def has_unicode() -> bool:
    """Return whether standard error takes more than ASCII."""
    return (getattr(sys.stderr, "encoding", None) or "").lower().replace("-", "") == "utf8"


def spinner(turn: int) -> str:
    """Return the sign of something that goes on, at its next turn."""
    signs = _SPINNER if has_unicode() else _PLAIN_SPINNER
    return signs[turn % len(signs)]


def fitting(text: str, columns: int) -> str:
    """Return the beginning of `text` that fits into so many columns, with `…` if anything is left out."""
    text = visible(text)
    if len(text) <= columns and text.isascii():
        return text
    if cells(text) <= columns:
        return text
    kept, width = [], 0
    for char in text:
        width += cells(char)
        if width >= columns:
            break
        kept.append(char)
    return "".join(kept) + ("…" if has_unicode() else ".")


def cells(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def styled(text: str, style: str) -> str:
    """Return text in a style of SGR, if standard error is in colour."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and in_colour(sys.stderr) else text


class LiveRegion:
    """The region itself. While it is drawn, nothing else may be written to the terminal."""

    def __init__(self) -> None:
        self._drawn = 0

    @property
    def columns(self) -> int:
        """How long a line may be. Some terminals report 0 columns, and a line that wraps could not be erased."""
        return max(shutil.get_terminal_size().columns - 1, _LEAST_COLUMNS)

    @property
    def most_rows(self) -> int:
        """How many lines may be drawn, so that more than half of the terminal keeps still."""
        return max(1, min(8, shutil.get_terminal_size().lines // 3))

    def draw(self, rows: Sequence[Row]) -> None:
        """Draw these lines in place of those that are there."""
        columns = self.columns
        lines = [styled(fitting(row.text, columns), row.style) for row in rows[-self.most_rows :]]
        say_raw(self._erasing() + "\n".join(lines))
        self._drawn = len(lines)

    def erase(self) -> None:
        """Remove the lines, so that something else may be written where they began."""
        if self._drawn:
            say_raw(self._erasing())
            self._drawn = 0

    def _erasing(self) -> str:
        if not self._drawn:
            return ""
        return "\r" + (f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else "") + "\x1b[J"
