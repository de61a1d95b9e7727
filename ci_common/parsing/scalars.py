"""Scalars of YAML 1.2's core schema that keep their text, so that each field decides which of the two it wants.

`3.10` is text where a variable's value is wanted, and a number where a number is: https://yaml.org/spec/1.2.2/#103-core-schema
"""

import re
from typing import Final

LONGEST_NUMBER: Final = 32
"""Characters that a number may have, so that converting it costs nothing."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_DECIMAL_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_INTEGER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_DECIMAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Plain(str):
    """A scalar that stands in YAML without quotes: its text as written, which YAML may read as something else."""

    __slots__ = ()

    @property
    def is_null(self) -> bool:
        """Whether YAML reads nothing in it."""
        return self in _NULL

    @property
    def is_boolean(self) -> bool:
        """Whether YAML reads true or false in it."""
        return self in _BOOLEAN

    @property
    def number(self) -> int | float | None:
        """The number that YAML reads in it, or None."""
        if len(self) <= LONGEST_NUMBER:
            if _OTHER_INTEGER.fullmatch(self):
                return int(self, 0)
            if _NO_DECIMAL.fullmatch(self):
                return float(self.replace(".", ""))
        return decimal_number(self)


def decimal_number(text: str) -> int | float | None:
    """Return the number that `text` is in decimal digits, or None where it is none or has more than 32 characters."""
    if len(text) > LONGEST_NUMBER:
        return None
    if _DECIMAL_INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else None
