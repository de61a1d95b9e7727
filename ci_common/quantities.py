"""Durations and sizes as people write them: `90`, `"10m"`, `"1h30m"`; `1048576`, `"512m"`, `"2GiB"`."""

import math
import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNIT_SECONDS = (86_400, 3_600, 60, 1)
_UNIT_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(value: object) -> float:
    """Return seconds. Raises ValueError, saying what would be right, where `value` is no duration."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, str):
        text = value.strip()
        try:
            return float(text)
        except ValueError:
            match = _DURATION.fullmatch(text)
            if text and match:
                return sum(float(n) * unit for n, unit in zip(match.groups(), _UNIT_SECONDS, strict=True) if n)
    raise ValueError(f"{value!r} is not a duration; write seconds (90) or units (10m, 1h30m, 2d)")


def parse_size(value: object) -> int:
    """Return bytes; units are powers of 1024. Raises ValueError, saying what would be right."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(Decimal(match[1]) * 1024 ** _UNIT_POWER[match[2].lower()])
    raise ValueError(f"{value!r} is not a size; write bytes (1048576) or units (512m, 2g)")


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, allow_inf_nan=False)]
"""Seconds, more than none."""
MAX_STOP_GRACE = 3600.0
"""The most seconds that a job may be given between SIGTERM and SIGKILL."""
NonNegativeDuration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
"""Seconds; none is allowed."""
StopGrace = Annotated[NonNegativeDuration, Field(le=MAX_STOP_GRACE)]
"""Seconds between SIGTERM and SIGKILL."""
ByteSize = Annotated[int, BeforeValidator(parse_size), Field(gt=0, lt=2**63)]
"""Bytes, more than none, and no more than 64 bits hold."""
NonNegativeByteSize = Annotated[int, BeforeValidator(parse_size), Field(ge=0, lt=2**63)]
"""Bytes; none is allowed."""
