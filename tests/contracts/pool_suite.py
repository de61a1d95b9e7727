"""What every `JobRepository` promises about the pool."""

from datetime import UTC, datetime

from ci_common.pool import NO_POOL, PoolKind, PoolState
from ci_common.spec import Limits
from ci_persistence.repository import Lease
from ci_persistence.storage import Storage
from tests.contracts.job_repository_place import Base

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
    async def test_shows_the_pool_as_it_was_last_told(self, repository: Storage, lease: Lease) -> None:
        assert await repository.pool() == NO_POOL
        state = PoolState(size=8, per_key=4, waiting=2, held_back="why", kinds=(KIND,))
        await repository.publish_pool(state, lease)
        assert await repository.pool() == state
