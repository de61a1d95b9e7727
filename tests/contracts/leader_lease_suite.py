"""What every `LeaderLease` promises. An implementation subclasses it and gives `place`."""

import asyncio
import inspect
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from ci_common.errors import LeadershipLost
from ci_common.pool import NO_POOL
from ci_common.system.processes import ProcessIdentity, identity_of, this_process
from ci_persistence.repository import Installation, Lease, LeaseState
from ci_persistence.storage import Storage
from tests.contracts.job_repository_place import Base, Place, said, tell
from tests.helpers.jobs import PLENTY, new_job

ELSEWHERE = ProcessIdentity(1, "1", "another machine")


class LeaderLeaseSuite(Base):
    async def test_one_leads_even_within_one_process(self, place: Place, repository: Storage) -> None:
        lease = await repository.acquire(this_process(), 10)
        assert lease is not None
        other = place.repository()
        await other.open()
        assert await other.acquire(this_process(), 10) is None
        assert await repository.acquire(this_process(), 10) is None
        await repository.release(lease)
        second = await other.acquire(this_process(), 10)
        assert second is not None
        assert second.fence > lease.fence
        await repository.release(lease)  # Does nothing: another leads.
        await other.renew(second, 10)
        await other.close()

    async def test_a_lease_that_was_not_renewed_can_be_taken(self, repository: Storage) -> None:
        lease = await repository.acquire(ELSEWHERE, 10)
        assert lease is not None
        seen = await repository.lease_state()
        assert seen == LeaseState(lease.fence, 0, 10)
        assert await repository.acquire(this_process(), 10) is None
        await repository.renew(lease, 11)
        assert await repository.acquire(this_process(), 10, seen) is None, "it has been renewed since"
        seen = await repository.lease_state()
        assert seen == LeaseState(lease.fence, 1, 11)
        second = await repository.acquire(this_process(), 10, seen)
        assert second is not None
        assert second.fence > lease.fence
        with pytest.raises(LeadershipLost):
            await repository.renew(lease, 10)
        assert await repository.acquire(ELSEWHERE, 10, seen) is None, "another controller was quicker"

    async def test_a_lease_that_ran_out_goes_on_while_nobody_took_it(self, repository: Storage) -> None:
        lease = await repository.acquire(this_process(), 10)
        assert lease is not None
        seen = await repository.lease_state()
        await repository.renew(lease, 10)
        assert await repository.acquire(this_process(), 10, seen) is None

    async def test_only_the_leader_says_whose_database_it_is(self, place: Place, repository: Storage) -> None:
        lease = await repository.acquire(this_process(), 10)
        assert lease is not None
        await repository.bind(lease, Installation("i", "/data"))
        await repository.release(lease)
        with pytest.raises(LeadershipLost):
            await repository.bind(lease, Installation("j", "/elsewhere"))
        assert await repository.installation() == Installation("i", "/data")

    async def test_a_released_lease_is_over(self, repository: Storage) -> None:
        job = await repository.add(new_job(), max_queued=PLENTY)
        lease = await repository.acquire(this_process(), 10)
        assert lease is not None
        await repository.release(lease)
        await repository.release(lease)
        assert await repository.lease_state() is None
        with pytest.raises(LeadershipLost):
            await repository.renew(lease, 10)
        with pytest.raises(LeadershipLost):
            await repository.update(job, lease, error="x")

    async def test_a_former_leader_writes_nothing(self, repository: Storage) -> None:
        """Whatever takes a lease as its proof has a case here."""
        job = await repository.add(new_job(), max_queued=PLENTY)
        former = await repository.acquire(this_process(), 10)
        present = await repository.acquire(this_process(), 10, await repository.lease_state())
        assert former is not None
        assert present is not None
        writes: dict[str, Callable[[Lease], Awaitable[object]]] = {
            "update": lambda lease: repository.update(job, lease, error="former"),
            "renew": lambda lease: repository.renew(lease, 10),
            "bind": lambda lease: repository.bind(lease, Installation("j", "/elsewhere")),
            "delete": lambda lease: repository.delete([job.id], lease=lease),
            "publish_pool": lambda lease: repository.publish_pool(NO_POOL, lease),
            "forget_removals": lambda lease: repository.forget_removals([job.id], lease),
        }
        proving = set(proven_calls(Storage))
        assert writes.keys() == proving - {"release"}, "release does nothing where another leads"
        before = await repository.lease_state(), await repository.get(job.id)
        for write in writes.values():
            with pytest.raises(LeadershipLost):
                await write(former)
        await repository.release(former)
        assert (await repository.lease_state(), await repository.get(job.id)) == before
        assert (await repository.update(job, present, error="present")).error == "present"

    async def test_a_dead_holder_is_replaced_at_once_and_a_living_one_is_not(self, repository: Storage) -> None:
        with subprocess.Popen(["sleep", "60"]) as process:
            holder = identity_of(process.pid)
            assert holder is not None
            lease = await repository.acquire(holder, 10)
            assert lease is not None
            assert await repository.acquire(this_process(), 10) is None
            process.kill()
        second = await repository.acquire(this_process(), 10)
        assert second is not None
        assert second.fence > lease.fence

    async def test_of_four_processes_one_leads(self, place: Place, repository: Storage) -> None:
        body = """
            heard()
            lease = await repository.acquire(this_process(), 60)
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
            lease = await repository.acquire(this_process(), 60)
            assert lease is not None
            assert lease.fence == 2


def proven_calls(protocol: type) -> Iterator[str]:
    """Yield the names of a protocol's methods that take a lease as proof of leadership."""
    for name, method in inspect.getmembers(protocol, inspect.isfunction):
        if "lease" in inspect.signature(method).parameters:
            yield name
