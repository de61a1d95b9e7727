"""How many waiting workloads of each kind are wanted, learnt from the jobs that started. Pure."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ci_common.spec import ExecutionPlan

BURST_SECONDS = 2.0
"""Jobs that start within this time want their workloads at once: none can be replaced in between."""
HALF_LIFE_SECONDS = 600.0
"""After how long without such a burst half as many are wanted."""


@dataclass(slots=True)
class _Kind:
    plan: ExecutionPlan | None
    last_used: float
    last_time: datetime | None
    peak: int
    peak_time: float
    starts: deque[float] = field(default_factory=deque)


class Demand:
    """What was used. All times are seconds of uptime."""

    def __init__(self, *, most: int, forget_after: float) -> None:
        """At most `most` of one kind are ever wanted, and none that was not used for `forget_after` seconds."""
        self._most = most
        self._forget_after = forget_after
        self._kinds: dict[str, _Kind] = {}

    def used(self, kind: str, plan: ExecutionPlan, now: float, time: datetime) -> None:
        """A job of this kind starts, at `time` by the clock. `plan` stands for all of the kind from now on."""
        seen = self._kinds.setdefault(kind, _Kind(plan, now, time, 0, now))
        seen.plan, seen.last_used, seen.last_time = plan, now, time
        seen.starts.append(now)
        while seen.starts[0] < now - BURST_SECONDS:
            seen.starts.popleft()
        if len(seen.starts) >= _faded(seen, now):
            seen.peak, seen.peak_time = len(seen.starts), now

    def found(self, kind: str, number: int, now: float) -> None:
        """So many of this kind wait already, from before we know."""
        seen = self._kinds.setdefault(kind, _Kind(None, now, None, 0, now))
        seen.peak, seen.peak_time = max(seen.peak, number), now

    def drop(self, kind: str) -> None:
        """Nothing is wanted of this kind any more, until it is used again."""
        self._kinds.pop(kind, None)

    def plan_of(self, kind: str) -> ExecutionPlan | None:
        """Return a plan of this kind, or None where none was seen."""
        return self._kinds[kind].plan if kind in self._kinds else None

    def last_time(self, kind: str) -> datetime | None:
        """Return when a job of this kind last started, by the clock, or None where none did or that is forgotten."""
        return self._kinds[kind].last_time if kind in self._kinds else None

    def wanted(self, now: float, room: int) -> dict[str, int]:
        """Return how many of each kind are wanted, `room` in all; what was used last comes first."""
        for kind in [kind for kind, seen in self._kinds.items() if now - seen.last_used >= self._forget_after]:
            del self._kinds[kind]
        return dict(self._share(now, room))

    def _share(self, now: float, room: int) -> Iterator[tuple[str, int]]:
        for kind, seen in sorted(self._kinds.items(), key=lambda item: item[1].last_used, reverse=True):
            number = min(_faded(seen, now), self._most, room)
            room -= number
            if number:
                yield kind, number


def _faded(seen: _Kind, now: float) -> int:
    return max(1, seen.peak >> int((now - seen.peak_time) / HALF_LIFE_SECONDS))
