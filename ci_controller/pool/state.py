"""The pool as its users see it."""

from collections import Counter
from collections.abc import Mapping

from ci_common.pool import PoolKind, PoolState
from ci_controller.job_writer import JobWriter
from ci_controller.pool.demand import Demand


class Notice:
    """Tells everybody what the pool is like, as often as that changes."""

    def __init__(self, writer: JobWriter, *, size: int, per_key: int) -> None:
        """`size` is how many may wait, `per_key` how many of one kind."""
        self._writer = writer
        self._size = size
        self._per_key = per_key
        self._told: PoolState | None = None

    async def tell(self, waiting: int, kinds: tuple[PoolKind, ...], held_back: str | None) -> None:
        """Tell how many wait, of which kinds, and why no more do. Raises LeadershipLost, Unavailable."""
        state = PoolState(size=self._size, per_key=self._per_key, waiting=waiting, held_back=held_back, kinds=kinds)
        if state == self._told:
            return
        self._told = state
        try:
            await self._writer.repository.publish_pool(state, self._writer.lease)
        except BaseException:
            self._told = None
            raise


def describe_kinds(
    demand: Demand, *, waiting: Mapping[str, str], making: Mapping[str, str], wanted: Mapping[str, int]
) -> tuple[PoolKind, ...]:
    """Return what there is to tell of each kind. The first two are kinds by workload, `wanted` is numbers by kind."""
    there, coming = Counter(waiting.values()), Counter(making.values())
    return tuple(
        _describe(kind, demand, waiting=there[kind], starting=coming[kind], wanted=wanted.get(kind, 0))
        for kind in sorted(there.keys() | coming.keys() | wanted.keys())
    )


def _describe(kind: str, demand: Demand, *, waiting: int, starting: int, wanted: int) -> PoolKind:
    plan = demand.plan_of(kind)
    return PoolKind(
        kind=kind,
        image=plan and plan.image,
        network=plan and plan.network,
        limits=plan and plan.limits.model_copy(update={"log": None}),  # Which is ours to keep, in any container.
        waiting=waiting,
        starting=starting,
        wanted=wanted,
        last_used=demand.last_time(kind),
    )
