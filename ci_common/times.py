"""Instants. Inside: aware `datetime` in UTC. On the wire: RFC 3339 with `Z`. In storage: microseconds since 1970."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

Clock = Callable[[], datetime]
"""A source of the present instant; injected wherever a decision depends on it."""

Uptime = Callable[[], float]
"""A source of the machine's uptime in seconds, which nobody sets; injected as a clock is."""

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
    """Parse an RFC 3339 instant. Raises ValueError where the text is none or names no offset."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} names no offset from UTC; write it as in 2025-01-31T09:30:00Z")
    return instant.astimezone(UTC)


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    passed = instant - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def from_micros(micros: int) -> datetime:
    """Return the instant `micros` microseconds after the start of 1970 UTC."""
    return _EPOCH + timedelta(microseconds=micros)
