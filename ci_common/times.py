"""Instants. Inside: aware `datetime` in UTC. On the wire: RFC 3339 with `Z`. In storage: microseconds since 1970."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ci_common.parsing.text import shown

Clock = Callable[[], datetime]
"""A source of the present instant; injected wherever a decision depends on it."""

Uptime = Callable[[], float]
"""A source of the machine's uptime in seconds, which nobody sets; injected as a clock is."""

_INSTANT_CHARACTERS = 64
"""More than the longest form of an instant has."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def utc_now() -> datetime:
    """Return the present instant in UTC."""
    return datetime.now(UTC)


def uptime() -> float:
    """Return the seconds since the machine's boot, those of its sleep included where the system counts them."""
    return time.clock_gettime(_BOOT_CLOCK) if _BOOT_CLOCK is not None else time.monotonic()


def to_rfc3339(instant: datetime) -> str:
    """Return `instant` as RFC 3339 with microseconds and `Z`."""
    return micros_to_rfc3339(to_micros(instant))


def micros_to_rfc3339(micros: int) -> str:
    """Return the instant `micros` microseconds after the start of 1970 UTC as RFC 3339, with microseconds and `Z`."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_to_seconds(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=64)
def _to_seconds(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def from_rfc3339(text: str) -> datetime:
    """Parse an RFC 3339 instant. Raises ValueError where the text is none, or none of the years 1 to 9999 in UTC."""
    try:
        instant = datetime.fromisoformat(text if len(text) <= _INSTANT_CHARACTERS else "")
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{shown(text)} is outside of the years 1 to 9999 in UTC") from None
    except ValueError:
        raise ValueError(f"{shown(text)} is not an instant; write it as in 2025-01-31T09:30:00Z") from None
    raise ValueError(f"{shown(text)} names no offset from UTC; write it as in 2025-01-31T09:30:00Z")


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    passed = instant - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def from_micros(micros: int) -> datetime:
    """Return the instant `micros` microseconds after the start of 1970 UTC."""
    return _EPOCH + timedelta(microseconds=micros)
