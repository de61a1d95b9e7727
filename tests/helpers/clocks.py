"""Clocks that a test sets."""

from datetime import datetime, timedelta

from ci_common.times import utc_now
from tests.helpers.waiting import eventually


class SetClock:
    """The wall clock, off by what a test says."""

    def __init__(self) -> None:
        self.off = timedelta()
        self._asked = 0

    def __call__(self) -> datetime:
        self._asked += 1
        return utc_now() + self.off

    async def asked_again(self) -> None:
        """Return once it has been asked several times more."""
        wanted = self._asked + 5
        await eventually(lambda: self._asked >= wanted, "somebody asks for the time")


class SetUptime:
    """An uptime that passes only when a test says so."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds
