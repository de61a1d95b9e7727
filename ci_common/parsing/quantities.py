"""Numbers, durations and sizes as people write them: `90`, `"10m"`, `"1h30m"`; `1048576`, `"512m"`, `"2GiB"`.

Text is at most 32 characters of ASCII; nothing longer is converted, because that can take seconds.
"""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from ci_common.parsing.input_schema import AlsoText
from ci_common.parsing.scalars import LONGEST_NUMBER, Plain, decimal_number
from ci_common.parsing.text import shown

_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNIT_SECONDS = (86_400, 3_600, 60, 1)
_UNIT_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_TOO_LARGE = 10**LONGEST_NUMBER


def parse_duration(value: object) -> float:
    """Return seconds. Raises ValueError, saying what would be right, where `value` is no duration."""
    number = _number(value)
    if number is not None:
        return float(number)
    text = _short_text(value)
    if text and (match := _DURATION.fullmatch(text)):
        return sum(float(n) * unit for n, unit in zip(match.groups(), _UNIT_SECONDS, strict=True) if n)
    raise ValueError(f"{shown(value)} is not a duration; write seconds (90) or units (10m, 1h30m, 2d)")


def parse_size(value: object) -> int:
    """Return bytes; units are powers of 1024. Raises ValueError, saying what would be right."""
    number = None if isinstance(value, str) and not isinstance(value, Plain) else _number(value)
    if isinstance(number, int):
        return number
    text = _short_text(value)
    if text and (match := _SIZE.fullmatch(text)):
        return int(Decimal(match[1]) * 1024 ** _UNIT_POWER[match[2].lower()])
    raise ValueError(f"{shown(value)} is not a size; write bytes (1048576) or units (512m, 2g)")


def parse_integer(value: object) -> int:
    """Return a whole number, which may be written as text. Raises ValueError, saying what would be right."""
    number = _number(value)
    if isinstance(number, int):
        return number
    if number is not None and number.is_integer() and abs(number) < _TOO_LARGE:
        return int(number)
    raise ValueError(f"{shown(value)} is not a whole number; write digits (10), at most {LONGEST_NUMBER}")


def parse_number(value: object) -> float:
    """Return a number, which may be written as text. Raises ValueError, saying what would be right."""
    number = _number(value)
    if number is None:
        raise ValueError(f"{shown(value)} is not a number; write digits (2) or a fraction (0.5)")
    return float(number)


def _number(value: object) -> int | float | None:
    """Return the number that `value` is or says, or None where it is none or one that is too long."""
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
    """Return the text that `value` is, without space around it, or nothing where it is too long for a quantity."""
    return value.strip(" \t\r\n") if isinstance(value, str) and len(value) <= LONGEST_NUMBER else ""


Integer = Annotated[int, BeforeValidator(parse_integer), AlsoText("integer")]
"""A whole number; neither true nor false is one."""
Number = Annotated[float, BeforeValidator(parse_number), AlsoText("number"), Field(allow_inf_nan=False)]
"""A number with or without a fraction; neither true nor false is one."""
Duration = Annotated[float, BeforeValidator(parse_duration), AlsoText("duration"), Field(gt=0, allow_inf_nan=False)]
"""Seconds, more than none."""
MAX_STOP_GRACE = 3600.0
"""The most seconds that a job may be given between SIGTERM and SIGKILL."""
NonNegativeDuration = Annotated[
    float, BeforeValidator(parse_duration), AlsoText("duration"), Field(ge=0, allow_inf_nan=False)
]
"""Seconds; none is allowed."""
StopGrace = Annotated[NonNegativeDuration, Field(le=MAX_STOP_GRACE)]
"""Seconds between SIGTERM and SIGKILL."""
ByteSize = Annotated[int, BeforeValidator(parse_size), AlsoText("size"), Field(gt=0, lt=2**63)]
"""Bytes, more than none, and no more than 64 bits hold."""
NonNegativeByteSize = Annotated[int, BeforeValidator(parse_size), AlsoText("size"), Field(ge=0, lt=2**63)]
"""Bytes; none is allowed."""
