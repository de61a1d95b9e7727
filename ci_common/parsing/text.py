"""Checks text from requests, files and programs, and formats values for messages.

Characters that a shell, a terminal, JSON or UTF-8 cannot represent safely are refused: NUL and other control
characters, and halves of surrogate pairs.
"""

import re
from typing import Final

_REFUSED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_REFUSED_IN_LINES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_CHARACTERS = tuple(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n")
_LONG: Final = 4096
"""In texts of at least so many characters, searching for each refused character in turn is faster."""
_SHOWN_CHARACTERS: Final = 100
_SHOWN_BITS: Final = 128


def check_text(text: str) -> str:
    """Return `text`. Raises ValueError if it has a control character other than tab and line end, or is not Unicode."""
    if len(text) < _LONG or not _is_clean(text):
        _check(text, _REFUSED, "tabs and line ends (\\n) are the only control characters that text may have")
    return text


def check_line(text: str) -> str:
    """Return `text`. Raises ValueError if it has a control character, line ends included, or is not Unicode."""
    _check(text, _REFUSED_IN_LINES, "it is one line of text, without control characters")
    return text


def _is_clean(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not any(character in text for character in _CONTROL_CHARACTERS)


def _check(text: str, refused: re.Pattern[str], rule: str) -> None:
    found = refused.search(text)
    if found is not None:
        raise ValueError(f"{_name_of(found[0])} at character {found.start() + 1} is not allowed; {rule}")


def _name_of(character: str) -> str:
    code = ord(character)
    if code == 0:
        return "a NUL byte"
    if 0xD800 <= code <= 0xDFFF:
        return f"half of a surrogate pair (U+{code:04X})"
    return f"the control character U+{code:04X}"


def shown(value: object) -> str:
    """Return a value in the form for an error message, in at most one line.

    It takes constant time, even for large values.
    """
    match value:
        case str():
            return repr(str(value)) if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]!r}…"
        case int() if not isinstance(value, bool) and value.bit_length() > _SHOWN_BITS:
            return "a number with too many digits"
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
    return f"a {type(value).__name__}"


def printable(text: str) -> str:
    """Return the beginning of `text`, escaped if it cannot be printed, for paths and names in messages."""
    start = text[:_SHOWN_CHARACTERS]
    return (start if start.isprintable() else ascii(start)[1:-1]) + ("…" if len(text) > _SHOWN_CHARACTERS else "")


def shown_size(count: float) -> str:
    """Return a number of bytes for people, as in `1.5 MiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
