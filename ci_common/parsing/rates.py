"""Rates, written as `10/s`, `600/m`, `5000/h` or `none`: how many of something in which time."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import PlainValidator

from ci_common.parsing.text import shown

_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_RATE = re.compile(r"([1-9][0-9]{0,8})/([smh])")
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds, which may come all at once."""

    text: str
    """The text of the setting."""
    amount: int
    """0 for no limit."""
    seconds: int

    @property
    def is_limit(self) -> bool:
        """Whether it limits anything."""
        return self.amount > 0

    def __str__(self) -> str:
        return self.text


def parse_rate(value: object) -> Rate:
    """Return the rate that a setting names. Raises ValueError."""
    if isinstance(value, Rate):
        return value
    if value == _NONE:
        return Rate(_NONE, 0, 1)
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is not a rate; write it as in 10/s, 600/m or 5000/h, or none for no limit")
    return Rate(match[0], int(match[1]), _UNITS[match[2]])


RateLimit = Annotated[Rate, PlainValidator(parse_rate)]
