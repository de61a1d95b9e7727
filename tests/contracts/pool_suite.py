"""What every `JobRepository` promises about workloads that waited for their jobs, and about the pool."""

from datetime import UTC, datetime

import pytest

from ci_common.jobs import Job, StartWay, State
from ci_common.pool import NO_POOL, PoolKind, PoolState
from ci_common.spec import Limits
from ci_persistence.repository import Lease
from ci_persistence.storage import Storage
from tests.contracts.job_repository_place import Base
from tests.helpers.jobs import PLENTY, new_job

WARM = {"state": State.STARTING, "start_way": StartWay.WARM}
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
    async def test_finds_the_jobs_that_took_workloads(self, repository: Storage, lease: Lease) -> None:
        holder = await self._started(repository, lease, workload="w1")
        other = await self._started(repository, lease, workload="w2")
        await repository.add(new_job(), max_queued=PLENTY)
        assert await repository.get_holders(["w1", "w3"]) == {"w1": holder}
        assert await repository.get_holders(iter(["w2", "w1"])) == {"w1": holder, "w2": other}
        assert await repository.get_holders([]) == {}

    async def test_gives_a_workload_to_one_job_only(self, repository: Storage, lease: Lease) -> None:
        holder = await self._started(repository, lease, workload="w1")
        with pytest.raises(ValueError, match="rules"):
            await self._started(repository, lease, workload="w1")
        assert await repository.get_holders(["w1"]) == {"w1": holder}

    async def test_a_warm_start_names_its_workload(self, repository: Storage, lease: Lease) -> None:
        with pytest.raises(ValueError, match="rules"):
            await self._started(repository, lease, workload=None)

    async def test_shows_the_pool_as_it_was_last_told(self, repository: Storage, lease: Lease) -> None:
        assert await repository.pool() == NO_POOL
        state = PoolState(size=8, per_key=4, waiting=2, held_back="why", kinds=(KIND,))
        await repository.publish_pool(state, lease)
        assert await repository.pool() == state

    async def _started(self, repository: Storage, lease: Lease, *, workload: str | None) -> Job:
        job = await repository.add(new_job(), max_queued=PLENTY)
        return await repository.update(job, lease, workload=workload, **WARM)
