"""How many waiting workloads of each profile are wanted, learnt from the jobs that started, and whether there is room.

`Demand` is pure. What users see of the pool (`ci list --pool`) is published here, too.
"""

import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ci_common.errors import DiskLow
from ci_common.pool import PoolKind, PoolState
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Disk
from ci_controller.job_writer import JobWriter

BURST_SECONDS = 2.0
"""Jobs that start within this time want their workloads at once: none can be replaced in between."""
HALF_LIFE_SECONDS = 600.0
"""After how long without such a burst half as many are wanted."""
MEMORY_BYTES = 8 * 1024**2
"""What a waiting container is counted as; it was measured to take 6 MB."""
SERVICE_BYTES = 64 * 1024**2
"""What a service that waits with it is counted as if it has no limit."""
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

    def drop_image(self, image: str) -> None:
        """Want nothing of this image any more, until it is used again."""
        for profile in [name for name, seen in self._profiles.items() if seen.plan and seen.plan.image == image]:
            self.drop(profile)

    def plan_of(self, profile: str) -> ExecutionPlan | None:
        """Return a plan of this profile, or None if none was seen."""
        return self._profiles[profile].plan if profile in self._profiles else None

    def last_time(self, profile: str) -> datetime | None:
        """Return when a job of this profile last started, by the clock, or None if none did or that is forgotten."""
        return self._profiles[profile].last_time if profile in self._profiles else None

    def wanted(self, now: float, room: int, memory: int = sys.maxsize) -> dict[str, int]:
        """Return how many of each profile are wanted; the profile that was used last comes first.

        `room` is for how many containers there is room in all, those of services included, and `memory` for how many
        bytes.
        """
        for profile in [name for name, seen in self._profiles.items() if now - seen.last_used >= self._forget_after]:
            del self._profiles[profile]
        return dict(self._share(now, room, memory))

    def _share(self, now: float, room: int, memory: int) -> Iterator[tuple[str, int]]:
        for profile, seen in sorted(self._profiles.items(), key=lambda item: item[1].last_used, reverse=True):
            containers, size = _cost(seen.plan)
            number = min(_faded(seen, now), self._most, room // containers, memory // size)
            room -= number * containers
            memory -= number * size
            if number:
                yield profile, number


def _cost(plan: ExecutionPlan | None) -> tuple[int, int]:
    """Return how many containers a waiting workload of this plan has, and how many bytes of memory they count as."""
    services = () if plan is None else plan.services.values()
    return 1 + len(services), MEMORY_BYTES + sum(service.limits.memory or SERVICE_BYTES for service in services)


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


class PoolPublisher:
    """Writes the state of the pool into the database, as often as it changes."""

    def __init__(self, writer: JobWriter, *, size: int, per_profile: int) -> None:
        """`size` is how many may wait, `per_profile` how many of one profile."""
        self._writer = writer
        self._size = size
        self._per_profile = per_profile
        self._published: PoolState | None = None

    async def publish(self, waiting: int, profiles: tuple[PoolKind, ...], held_back: str | None) -> None:
        """Write how many wait, of which profiles, and why no more do. Raises LeadershipLost, Unavailable."""
        state = PoolState(
            size=self._size, per_key=self._per_profile, waiting=waiting, held_back=held_back, kinds=profiles
        )
        if state == self._published:
            return
        self._published = state
        try:
            await self._writer.storage.pool.publish(state, self._writer.lease)
        except BaseException:
            self._published = None
            raise


def describe_profiles(
    demand: Demand, *, waiting: Mapping[str, str], making: Mapping[str, str], wanted: Mapping[str, int]
) -> tuple[PoolKind, ...]:
    """Return what users see of each profile. The first two are profiles by workload, `wanted` is numbers by profile."""
    there, coming = Counter(waiting.values()), Counter(making.values())
    return tuple(
        _describe(profile, demand, waiting=there[profile], starting=coming[profile], wanted=wanted.get(profile, 0))
        for profile in sorted(there.keys() | coming.keys() | wanted.keys())
    )


def _describe(profile: str, demand: Demand, *, waiting: int, starting: int, wanted: int) -> PoolKind:
    plan = demand.plan_of(profile)
    return PoolKind(
        kind=profile,
        image=plan and plan.image,
        network=plan and plan.network,
        limits=plan and plan.limits.model_copy(update={"log": None}),  # The controller enforces it, in any container.
        waiting=waiting,
        starting=starting,
        wanted=wanted,
        last_used=demand.last_time(profile),
    )
