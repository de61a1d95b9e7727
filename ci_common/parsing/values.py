"""Values as people write them: YAML scalars, numbers, durations, sizes, text, and the arguments of a program.

Durations and sizes are written as `90`, `"10m"`, `"1h30m"` and `1048576`, `"512m"`, `"2GiB"`. Text of more than 32
characters is never converted to a number, because that can take seconds.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from ci_common.parsing.input_schema import AlsoText
from ci_common.parsing.text import check_line, check_text, shown

TEXT_PATTERN: Final = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"
LINE_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f]*$"
"""What text may be, for JSON Schema. Halves of surrogate pairs are not valid in JSON anyway."""
LONGEST_NUMBER: Final = 32
"""The most characters of a number."""
LONGEST_ARGUMENT: Final = 128 * 1024 - 1
"""Bytes of one argument, or of one variable with its name and `=`: MAX_ARG_STRLEN without the NUL byte at its end."""
MOST_BYTES: Final = 1024**2
"""Bytes of all arguments and variables that a job brings. Linux takes a quarter of the stack's limit, by default 2 MiB,
and the image and the runtime add some."""
MAX_STOP_GRACE = 3600.0
"""The most seconds that a job may be given between SIGTERM and SIGKILL."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_DECIMAL_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_INTEGER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_DECIMAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNIT_SECONDS = (86_400, 3_600, 60, 1)
_UNIT_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TOO_LARGE = 10**LONGEST_NUMBER
_POINTER_BYTES: Final = 8


class Plain(str):
    """A scalar without quotes in YAML, which keeps its text so that each field decides how to read it.

    `3.10` is text where a variable's value is expected, and a number where a number is, by YAML 1.2's core schema:
    https://yaml.org/spec/1.2.2/#103-core-schema
    """

    __slots__ = ()

    @property
    def is_null(self) -> bool:
        """Whether YAML reads it as null."""
        return self in _NULL

    @property
    def is_boolean(self) -> bool:
        """Whether YAML reads it as true or false."""
        return self in _BOOLEAN

    @property
    def number(self) -> int | float | None:
        """The number that YAML reads it as, or None."""
        if len(self) <= LONGEST_NUMBER:
            if _OTHER_INTEGER.fullmatch(self):
                return int(self, 0)
            if _NO_DECIMAL.fullmatch(self):
                return float(self.replace(".", ""))
        return decimal_number(self)


def decimal_number(text: str) -> int | float | None:
    """Return the number that `text` is in decimal digits; None if it is not one, or has more than 32 characters."""
    if len(text) > LONGEST_NUMBER:
        return None
    if _DECIMAL_INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else None


def parse_duration(value: object) -> float:
    """Return seconds. Raises ValueError, which says what would be right, if `value` is not a duration."""
    number = _number(value)
    if number is not None:
        return float(number)
    text = _short_text(value)
    if text and (match := _DURATION.fullmatch(text)):
        return sum(float(n) * unit for n, unit in zip(match.groups(), _UNIT_SECONDS, strict=True) if n)
    raise ValueError(f"{shown(value)} is not a duration; write seconds (90) or units (10m, 1h30m, 2d)")


def parse_size(value: object) -> int:
    """Return bytes; units are powers of 1024. Raises ValueError, which says what would be right."""
    number = None if isinstance(value, str) and not isinstance(value, Plain) else _number(value)
    if number is not None and (whole := _whole(number)) is not None:
        return whole
    text = _short_text(value)
    if text and (match := _SIZE.fullmatch(text)):
        return int(Decimal(match[1]) * 1024 ** _UNIT_POWER[match[2].lower()])
    raise ValueError(f"{shown(value)} is not a size; write bytes (1048576) or units (512m, 2g)")


def parse_integer(value: object) -> int:
    """Return a whole number, which may be written as text. Raises ValueError, which says what would be right."""
    number = _number(value)
    if number is not None and (whole := _whole(number)) is not None:
        return whole
    raise ValueError(f"{shown(value)} is not a whole number; write digits (10), at most {LONGEST_NUMBER}")


def _whole(number: float) -> int | None:
    """Return a number without a fraction as an integer, or None. JSON knows no difference between 10 and 10.0."""
    return int(number) if isinstance(number, int) or (number.is_integer() and abs(number) < _TOO_LARGE) else None


def parse_number(value: object) -> float:
    """Return a number, which may be written as text. Raises ValueError, which says what would be right."""
    number = _number(value)
    if number is None:
        raise ValueError(f"{shown(value)} is not a number; write digits (2) or a fraction (0.5)")
    return float(number)


def _number(value: object) -> int | float | None:
    """Return the number that `value` is or spells; None if it is not one, or one that is too long."""
    match value:
        case bool():
            return None
        case Plain():
            return value.number
        case str():
            return decimal_number(_short_text(value))
        case int():
            return value if abs(value) < _TOO_LARGE else None
        case float():
            return value
    return None


def _short_text(value: object) -> str:
    """Return `value` without surrounding space; empty if it is not text, or too long for a quantity."""
    return value.strip(" \t\r\n") if isinstance(value, str) and len(value) <= LONGEST_NUMBER else ""


def check_argument(word: str) -> None:
    """Raise ValueError if `word` is too long for an argument of a program, which Linux then does not start.

    That would look like a failure of the job itself.
    """
    _check_argument_size(len(word.encode()), "it")


def check_variable(name: str, value: str) -> None:
    """Raise ValueError if a variable is too long for the environment of a program."""
    _check_argument_size(len(name) + 1 + len(value.encode()), "the variable with its name")


def size_of(arguments: Iterable[str], variables: Mapping[str, str]) -> int:
    """Return how many bytes Linux needs to pass these to a program (execve(2))."""
    return sum(len(word.encode()) + 1 + _POINTER_BYTES for word in arguments) + sum(
        len(name) + len(value.encode()) + 2 + _POINTER_BYTES for name, value in variables.items()
    )


def _check_argument_size(size: int, what: str) -> None:
    if size > LONGEST_ARGUMENT:
        raise ValueError(
            f"{what} has {size} bytes, and Linux passes at most {LONGEST_ARGUMENT} in one argument or "
            "variable to a program; put it into a file of the project"
        )


Text = Annotated[str, AfterValidator(check_text), Field(json_schema_extra={"pattern": TEXT_PATTERN})]
"""Text of any number of lines, such as shell text."""
Line = Annotated[str, AfterValidator(check_line), Field(json_schema_extra={"pattern": LINE_PATTERN})]
"""Text of one line, such as names, labels and projects."""
Integer = Annotated[int, BeforeValidator(parse_integer), AlsoText("integer")]
"""A whole number; true and false are refused."""
Number = Annotated[float, BeforeValidator(parse_number), AlsoText("number"), Field(allow_inf_nan=False)]
"""A number with or without a fraction; true and false are refused."""
Duration = Annotated[float, BeforeValidator(parse_duration), AlsoText("duration"), Field(gt=0, allow_inf_nan=False)]
"""Seconds, more than 0."""
NonNegativeDuration = Annotated[
    float, BeforeValidator(parse_duration), AlsoText("duration"), Field(ge=0, allow_inf_nan=False)
]
"""Seconds, 0 or more."""
StopGrace = Annotated[NonNegativeDuration, Field(le=MAX_STOP_GRACE)]
"""Seconds between SIGTERM and SIGKILL."""
ByteSize = Annotated[int, BeforeValidator(parse_size), AlsoText("size"), Field(gt=0, lt=2**63)]
"""Bytes, more than 0 and less than 2**63."""
NonNegativeByteSize = Annotated[int, BeforeValidator(parse_size), AlsoText("size"), Field(ge=0, lt=2**63)]
"""Bytes, 0 or more and less than 2**63."""
