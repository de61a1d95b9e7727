"""What every `Storage` promises about the pool."""

from datetime import UTC, datetime

from ci_common.pool import NO_POOL, PoolKind, PoolState
from ci_common.spec import Limits
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base

KIND = PoolKind(
    kind="0123456789abcdef",
    image="busybox",
    network=False,
    limits=Limits(memory=1024),
    waiting=2,
    starting=1,
    wanted=3,
    last_used=datetime(2026, 1, 1, tzinfo=UTC),
)


class PoolSuite(Base):
    async def test_shows_the_pool_as_it_was_last_told(self, storage: Storage, lease: Lease) -> None:
        assert await storage.pool.get() == NO_POOL
        state = PoolState(size=8, per_key=4, waiting=2, held_back="why", kinds=(KIND,))
        await storage.pool.publish(state, lease)
        assert await storage.pool.get() == state
