"""How many waiting workloads of each profile are wanted, learnt from the jobs that started, and whether there is room.

`Demand` is pure.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ci_common.errors import DiskLow
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Disk

BURST_SECONDS = 2.0
"""Jobs that start within this time want their workloads at once: none can be replaced in between."""
HALF_LIFE_SECONDS = 600.0
"""After how long without such a burst half as many are wanted."""
MEMINFO = Path("/proc/meminfo")
_FIELD = re.compile(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", re.MULTILINE)


@dataclass(slots=True)
class _Profile:
    plan: ExecutionPlan | None
    last_used: float
    last_time: datetime | None
    peak: int
    peak_time: float
    starts: deque[float] = field(default_factory=deque)


class Demand:
    """What was used. All times are seconds of uptime."""

    def __init__(self, *, most: int, forget_after: float) -> None:
        """At most `most` of one profile are ever wanted, and none that was not used for `forget_after` seconds."""
        self._most = most
        self._forget_after = forget_after
        self._profiles: dict[str, _Profile] = {}

    def record_start(self, profile: str, plan: ExecutionPlan, now: float, time: datetime) -> None:
        """A job of this profile starts, at `time` by the clock. Workloads of the profile are made for `plan`."""
        seen = self._profiles.setdefault(profile, _Profile(plan, now, time, 0, now))
        seen.plan, seen.last_used, seen.last_time = plan, now, time
        seen.starts.append(now)
        while seen.starts[0] < now - BURST_SECONDS:
            seen.starts.popleft()
        if len(seen.starts) >= _faded(seen, now):
            seen.peak, seen.peak_time = len(seen.starts), now

    def record_adopted(self, profile: str, number: int, now: float) -> None:
        """So many of this profile wait already, made by an earlier controller."""
        seen = self._profiles.setdefault(profile, _Profile(None, now, None, 0, now))
        seen.peak, seen.peak_time = max(seen.peak, number), now

    def drop(self, profile: str) -> None:
        """Want nothing of this profile any more, until it is used again."""
        self._profiles.pop(profile, None)

    def plan_of(self, profile: str) -> ExecutionPlan | None:
        """Return a plan of this profile, or None if none was seen."""
        return self._profiles[profile].plan if profile in self._profiles else None

    def last_time(self, profile: str) -> datetime | None:
        """Return when a job of this profile last started, by the clock, or None if none did or that is forgotten."""
        return self._profiles[profile].last_time if profile in self._profiles else None

    def wanted(self, now: float, room: int) -> dict[str, int]:
        """Return how many of each profile are wanted, `room` in all; the profile that was used last comes first."""
        for profile in [name for name, seen in self._profiles.items() if now - seen.last_used >= self._forget_after]:
            del self._profiles[profile]
        return dict(self._share(now, room))

    def _share(self, now: float, room: int) -> Iterator[tuple[str, int]]:
        for profile, seen in sorted(self._profiles.items(), key=lambda item: item[1].last_used, reverse=True):
            number = min(_faded(seen, now), self._most, room)
            room -= number
            if number:
                yield profile, number


def _faded(seen: _Profile, now: float) -> int:
    return max(1, seen.peak >> int((now - seen.peak_time) / HALF_LIFE_SECONDS))


def why_held_back(settings: Settings, disk: Disk, memory_percent: Callable[[], float]) -> str | None:
    """Return why no workload may wait at present, or None."""
    if memory_percent() < settings.pool_min_free_memory:
        return f"less than {settings.pool_min_free_memory:g} % of the memory is available"
    try:
        disk.check()
    except DiskLow as exc:
        return str(exc)
    return None


def free_memory_percent(meminfo: Path = MEMINFO) -> float:
    """Return how many percent of the machine's memory are available without swapping; 100 if that is unknown."""
    try:
        found = dict(_FIELD.findall(meminfo.read_text()))
    except OSError:
        return 100.0
    if not found.keys() >= {"MemTotal", "MemAvailable"} or int(found["MemTotal"]) == 0:
        return 100.0
    return 100 * int(found["MemAvailable"]) / int(found["MemTotal"])
