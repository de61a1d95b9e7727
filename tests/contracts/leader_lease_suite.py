"""What every `LeaderLease` promises. An implementation subclasses it and gives `place`."""

import asyncio
import subprocess
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from ci_common.errors import StaleWrite
from ci_common.processes import ProcessIdentity, identity_of, this_process
from ci_persistence.repository import Installation
from tests.contracts.job_repository_place import Base, Place, Repository, said, tell
from tests.helpers.jobs import NOON, PLENTY, new_job

LATER = NOON + timedelta(seconds=11)
ELSEWHERE = ProcessIdentity(1, "1", "another machine")


class LeaderLeaseSuite(Base):
    async def test_one_leads_even_within_one_process(self, place: Place, repository: Repository) -> None:
        lease = await repository.acquire(this_process(), 10, NOON)
        assert lease is not None
        other = place.repository()
        await other.open()
        assert await other.acquire(this_process(), 10, NOON) is None
        assert await repository.acquire(this_process(), 10, NOON) is None
        await repository.release(lease)
        second = await other.acquire(this_process(), 10, NOON)
        assert second is not None
        assert second.fence > lease.fence
        await repository.release(lease)  # Does nothing: another leads.
        await other.renew(second, 10, NOON)
        await other.close()

    async def test_a_lease_runs_out_unless_renewed(self, repository: Repository) -> None:
        lease = await repository.acquire(ELSEWHERE, 10, NOON)
        assert lease is not None
        assert await repository.acquire(this_process(), 10, NOON + timedelta(seconds=9.999)) is None
        await repository.renew(lease, 10, NOON + timedelta(seconds=9))
        assert await repository.acquire(this_process(), 10, LATER) is None
        second = await repository.acquire(this_process(), 10, NOON + timedelta(seconds=19))
        assert second is not None
        assert second.fence > lease.fence
        with pytest.raises(StaleWrite):
            await repository.renew(lease, 10, LATER)

    async def test_a_lease_that_ran_out_goes_on_while_nobody_took_it(self, repository: Repository) -> None:
        lease = await repository.acquire(this_process(), 10, NOON)
        assert lease is not None
        await repository.renew(lease, 10, LATER)
        assert await repository.acquire(this_process(), 10, LATER) is None

    async def test_only_the_leader_says_whose_database_it_is(self, place: Place, repository: Repository) -> None:
        lease = await repository.acquire(this_process(), 10, NOON)
        assert lease is not None
        await repository.bind(lease, Installation("i", "/data"))
        await repository.release(lease)
        with pytest.raises(StaleWrite):
            await repository.bind(lease, Installation("j", "/elsewhere"))
        assert await repository.installation() == Installation("i", "/data")

    async def test_a_released_lease_is_over(self, repository: Repository) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        lease = await repository.acquire(this_process(), 10, NOON)
        assert lease is not None
        await repository.release(lease)
        await repository.release(lease)
        with pytest.raises(StaleWrite):
            await repository.renew(lease, 10, NOON)
        with pytest.raises(StaleWrite):
            await repository.update(job, lease, error="x")

    async def test_a_former_leader_writes_nothing(self, repository: Repository) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        former = await repository.acquire(this_process(), 10, NOON)
        present = await repository.acquire(this_process(), 10, LATER)
        assert former is not None
        assert present is not None
        with pytest.raises(StaleWrite):
            await repository.update(job, former, error="former")
        assert (await repository.update(job, present, error="present")).error == "present"

    async def test_a_dead_holder_is_replaced_at_once_and_a_living_one_is_not(self, repository: Repository) -> None:
        with subprocess.Popen(["sleep", "60"]) as process:
            holder = identity_of(process.pid)
            assert holder is not None
            lease = await repository.acquire(holder, 10, NOON)
            assert lease is not None
            assert await repository.acquire(this_process(), 10, NOON) is None
            process.kill()
        second = await repository.acquire(this_process(), 10, NOON)
        assert second is not None
        assert second.fence > lease.fence

    async def test_of_four_processes_one_leads(self, place: Place, repository: Repository) -> None:
        body = """
            heard()
            lease = await repository.acquire(this_process(), 60, utc_now())
            say(lease and lease.fence)
            heard()
        """
        async with AsyncExitStack() as stack:
            processes = [await stack.enter_async_context(place.process(body)) for _ in range(4)]
            await asyncio.gather(*map(tell, processes))
            fences = await asyncio.gather(*map(said, processes))
            assert sorted(fences) == ["1", "None", "None", "None"]
            leader = processes[fences.index("1")]
            leader.kill()
            await leader.wait()
            lease = await repository.acquire(this_process(), 60, NOON)
            assert lease is not None
            assert lease.fence == 2
