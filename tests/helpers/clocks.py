"""Clocks that a test sets."""

from datetime import datetime, timedelta

from ci_common.times import utc_now


class SetClock:
    """The wall clock, off by what a test says."""

    def __init__(self) -> None:
        self.off = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.off


class SetUptime:
    """An uptime that passes only when a test says so."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds
