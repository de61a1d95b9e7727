"""Which values can be masked, and which references name a value that is kept elsewhere.

A short or a common text stands in every log. To mask it would spoil the logs, and would tell everyone who can print
into one what the secret is: they print all candidates, and see which one is masked.
"""

import re
from typing import Final

LEAST_CHARACTERS: Final = 8
"""The fewest characters of a value that is masked: there are too many of that length to print all candidates."""
MOST_BYTES: Final = 64 * 1024
_LEAST_DIFFERENT: Final = 4
_COMMON: Final = frozenset(
    {
        "password",
        "passw0rd",
        "changeme",
        "secret123",
        "12345678",
        "123456789",
        "1234567890",
        "username",
        "localhost",
        "127.0.0.1",
        "undefined",
        "production",
        "development",
        "postgres",
        "postgresql",
        "administrator",
        "container",
        "succeeded",
        "cancelled",
        "completed",
        "successful",
    }
)
_DIGITS: Final = re.compile(r"[0-9.:, -]*")
_LEAST_DIGITS: Final = 12
_WORD: Final = re.compile(r"[a-z]+|[A-Z][a-z]+|[A-Z]+")
_LONGEST_WORD: Final = 12

MOST_CHARACTERS: Final = 1000
"""The longest reference."""
REFERENCE: Final = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\0]+|vault:[^\0#?/]+(?:/[^\0#?/]+)+#[^\0#]+")


def why_not_masked(value: str) -> str | None:
    """Return why a value cannot be masked, as the end of a sentence; None if it can be."""
    text = value.strip()
    if len(text) < LEAST_CHARACTERS:
        return f"has fewer than {LEAST_CHARACTERS} characters"
    if len(set(text)) < _LEAST_DIFFERENT:
        return f"has fewer than {_LEAST_DIFFERENT} different characters"
    if text.lower() in _COMMON:
        return "is a common word"
    if _DIGITS.fullmatch(text) and len(text) < _LEAST_DIGITS:
        return f"is a number of fewer than {_LEAST_DIGITS} digits"
    if _WORD.fullmatch(text) and len(text) <= _LONGEST_WORD:
        return f"may be a plain word: it has only letters, and no more than {_LONGEST_WORD}"
    return None


def check_value(value: str) -> str:
    """Return a value that jobs can be given. Raises ValueError."""
    if not value.strip():
        raise ValueError("it is empty")
    if "\0" in value:
        raise ValueError("it has a NUL byte, which no variable can have")
    if len(value.encode(errors="replace")) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    return value


def check_reference(text: str) -> str:
    """Return a reference to a value that is kept elsewhere. Raises ValueError."""
    if not text.isprintable() or len(text) > MOST_CHARACTERS or not REFERENCE.fullmatch(text):
        raise ValueError("it is no reference; write env:NAME, file:/path or vault:MOUNT/PATH#FIELD")
    return text
