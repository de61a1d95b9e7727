"""Times: aware `datetime` in UTC inside, RFC 3339 with `Z` on the wire, microseconds since 1970 in storage."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ci_common.parsing.text import shown

Clock = Callable[[], datetime]
"""Returns the current time; injected wherever a decision depends on it."""

Uptime = Callable[[], float]
"""Returns the machine's uptime in seconds, which cannot be set; injected like a clock."""

_INSTANT_CHARACTERS = 64
"""More than the longest notation of a time has."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def uptime() -> float:
    """Return the seconds since the machine's boot, including its sleep if the system counts that."""
    return time.clock_gettime(_BOOT_CLOCK) if _BOOT_CLOCK is not None else time.monotonic()


def to_rfc3339(instant: datetime) -> str:
    """Return `instant` as RFC 3339 with microseconds and `Z`."""
    return micros_to_rfc3339(to_micros(instant))


def micros_to_rfc3339(micros: int) -> str:
    """Return the time `micros` microseconds after 1970 UTC began as RFC 3339 with microseconds and `Z`."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_to_seconds(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=64)
def _to_seconds(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def from_rfc3339(text: str) -> datetime:
    """Parse a time in RFC 3339. Raises ValueError if it is not one in the years 1 to 9999 in UTC."""
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
    """Return the time `micros` microseconds after 1970 UTC began."""
    return _EPOCH + timedelta(microseconds=micros)
