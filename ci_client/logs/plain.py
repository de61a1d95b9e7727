"""Lines of a log as plain text, for readers that are not a terminal: messages, tables, programs and agents.

A log is data that anybody may have written. Nothing in these lines moves a cursor, hides text or changes its direction.
"""

import re
from dataclasses import dataclass

from ci_client.escapes import TerminalFilter, visible

LONGEST_LINE = 500
"""The most characters of a line that are shown by default."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_PRINTABLE = re.compile(rb"[ -~]*\Z")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Variation selectors: invisible, and able to carry any hidden text."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log."""

    number: int
    """Its place in the log of its attempt, from 1."""
    text: str
    """Plain, and shortened if it was long."""


def plain(line: bytes, *, longest: int = LONGEST_LINE) -> str:
    """Return one line of a log as text without escape sequences, with at most `longest` characters.

    Of a line that was written over with carriage returns, the last text is returned. Other invisible characters are
    written out, as in `\\u202e`. Bytes that are not UTF-8 become U+FFFD.
    """
    if _PRINTABLE.match(line):
        text = line.decode()
    else:
        # What was shown before the last carriage return is gone, but a sequence may reach over it.
        shown = TerminalFilter().feed(line, final=True).decode()
        parts = _COLOUR.sub("", shown).rstrip("\r\n").split("\r")
        text = visible(_SELECTORS.sub("", next((part for part in reversed(parts) if part), "")).expandtabs(4))
    text = text.rstrip()
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
