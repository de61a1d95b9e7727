"""The pool as its users see it (`ci list --pool`)."""

from collections import Counter
from collections.abc import Mapping

from ci_common.pool import PoolKind, PoolState
from ci_controller.job_writer import JobWriter
from ci_controller.pool.demand import Demand


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
            await self._writer.repository.publish_pool(state, self._writer.lease)
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
