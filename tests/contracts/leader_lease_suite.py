"""What every `LeaseStore` promises. An implementation subclasses it and gives `place`."""

import asyncio
import inspect
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from ci_common.attempts.columns import CaseColumns
from ci_common.errors import LeadershipLost
from ci_common.pool import NO_POOL
from ci_common.system.processes import ProcessIdentity, identity_of, this_process
from ci_persistence.storage import Storage
from ci_persistence.stores.installations import Installation
from ci_persistence.stores.kept.logs import StoredLog
from ci_persistence.stores.leases import Lease, LeaseState
from tests.contracts.cache_suite import KEPT
from tests.contracts.environment_suite import ONE
from tests.contracts.report_suite import case
from tests.contracts.storage_place import Base, Place, said, tell
from tests.helpers.jobs import PLENTY, new_job

ELSEWHERE = ProcessIdentity(1, "1", "another machine")


class LeaderLeaseSuite(Base):
    async def test_one_leads_even_within_one_process(self, place: Place, storage: Storage) -> None:
        lease = await storage.leases.acquire(this_process(), 10)
        assert lease is not None
        other = place.storage()
        await other.open()
        assert await other.leases.acquire(this_process(), 10) is None
        assert await storage.leases.acquire(this_process(), 10) is None
        await storage.leases.release(lease)
        second = await other.leases.acquire(this_process(), 10)
        assert second is not None
        assert second.fence > lease.fence
        await storage.leases.release(lease)  # Does nothing: another leads.
        await other.leases.renew(second, 10)
        await other.close()

    async def test_a_lease_that_was_not_renewed_can_be_taken(self, storage: Storage) -> None:
        lease = await storage.leases.acquire(ELSEWHERE, 10)
        assert lease is not None
        seen = await storage.leases.state()
        assert seen == LeaseState(lease.fence, 0, 10)
        assert await storage.leases.acquire(this_process(), 10) is None
        await storage.leases.renew(lease, 11)
        assert await storage.leases.acquire(this_process(), 10, seen) is None, "it has been renewed since"
        seen = await storage.leases.state()
        assert seen == LeaseState(lease.fence, 1, 11)
        second = await storage.leases.acquire(this_process(), 10, seen)
        assert second is not None
        assert second.fence > lease.fence
        with pytest.raises(LeadershipLost):
            await storage.leases.renew(lease, 10)
        assert await storage.leases.acquire(ELSEWHERE, 10, seen) is None, "another controller was quicker"

    async def test_a_lease_that_ran_out_goes_on_while_nobody_took_it(self, storage: Storage) -> None:
        lease = await storage.leases.acquire(this_process(), 10)
        assert lease is not None
        seen = await storage.leases.state()
        await storage.leases.renew(lease, 10)
        assert await storage.leases.acquire(this_process(), 10, seen) is None

    async def test_it_says_how_many_jobs_run_at_a_time(self, storage: Storage) -> None:
        assert await storage.leases.slots() is None, "no controller has led"
        lease = await storage.leases.acquire(this_process(), 10, slots=3)
        assert lease is not None
        assert await storage.leases.acquire(ELSEWHERE, 10, slots=5) is None
        assert await storage.leases.slots() == 3
        await storage.leases.release(lease)
        assert await storage.leases.acquire(this_process(), 10) is not None, "a command that runs no jobs"
        assert await storage.leases.slots() == 3

    async def test_only_the_leader_says_whose_database_it_is(self, place: Place, storage: Storage) -> None:
        lease = await storage.leases.acquire(this_process(), 10)
        assert lease is not None
        await storage.installations.bind(lease, Installation("i", "/data"))
        await storage.leases.release(lease)
        with pytest.raises(LeadershipLost):
            await storage.installations.bind(lease, Installation("j", "/elsewhere"))
        assert await storage.installations.get() == Installation("i", "/data")

    async def test_a_released_lease_is_over(self, storage: Storage) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        lease = await storage.leases.acquire(this_process(), 10)
        assert lease is not None
        await storage.leases.release(lease)
        await storage.leases.release(lease)
        assert await storage.leases.state() is None
        with pytest.raises(LeadershipLost):
            await storage.leases.renew(lease, 10)
        with pytest.raises(LeadershipLost):
            await storage.jobs.update(job, lease, error="x")

    async def test_a_former_leader_writes_nothing(self, storage: Storage) -> None:
        """Whatever takes a lease as its proof has a case here."""
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        former = await storage.leases.acquire(this_process(), 10)
        present = await storage.leases.acquire(this_process(), 10, await storage.leases.state())
        assert former is not None
        assert present is not None
        await storage.reports.begin(job.id, 1, scope="s", content=None, lease=present)
        writes: dict[str, Callable[[Lease], Awaitable[object]]] = {
            "update": lambda lease: storage.jobs.update(job, lease, error="former"),
            "renew": lambda lease: storage.leases.renew(lease, 10),
            "bind": lambda lease: storage.installations.bind(lease, Installation("j", "/elsewhere")),
            "delete": lambda lease: storage.retention.delete([job.id], lease=lease),
            "put": lambda lease: storage.environments.put(ONE, lease),
            "touch": lambda lease: storage.environments.touch(ONE.key, ONE.job_id, ONE.created_time, lease),
            "remove": lambda lease: storage.environments.remove([ONE.key], lease=lease),
            "keep": lambda lease: storage.caches.keep(KEPT, lease),
            "note_use": lambda lease: storage.caches.note_use(KEPT.id, KEPT.created_time, lease),
            "drop": lambda lease: storage.caches.drop([KEPT.id], lease=lease),
            "note": lambda lease: storage.logs.note(job.id, 1, StoredLog(1, 0), lease),
            "note_removed": lambda lease: storage.artifacts.note_removed(["key"], KEPT.created_time, lease),
            "begin": lambda lease: storage.reports.begin(job.id, 1, scope="s", content=None, lease=lease),
            "add": lambda lease: storage.reports.add(job.id, 1, CaseColumns.of([case(0)]), lease),
            "finish": lambda lease: storage.reports.finish(job.id, 1, {}, lease),
            "remove of reports": lambda lease: storage.reports.remove(job.id, lease),
            "publish": lambda lease: storage.pool.publish(NO_POOL, lease),
            "forget_removals": lambda lease: storage.retention.forget_removals([job.id], lease),
        }
        proving = {name for store in storage.stores().values() for name in proven_calls(type(store))}
        assert {name.partition(" ")[0] for name in writes} == proving - {"release"}, (
            "release does nothing where another leads"
        )
        before = await storage.leases.state(), await storage.jobs.get(job.id)
        for write in writes.values():
            with pytest.raises(LeadershipLost):
                await write(former)
        await storage.leases.release(former)
        assert (await storage.leases.state(), await storage.jobs.get(job.id)) == before
        assert (await storage.jobs.update(job, present, error="present")).error == "present"

    async def test_a_dead_holder_is_replaced_at_once_and_a_living_one_is_not(self, storage: Storage) -> None:
        with subprocess.Popen(["sleep", "60"]) as process:
            holder = identity_of(process.pid)
            assert holder is not None
            lease = await storage.leases.acquire(holder, 10)
            assert lease is not None
            assert await storage.leases.acquire(this_process(), 10) is None
            process.kill()
        second = await storage.leases.acquire(this_process(), 10)
        assert second is not None
        assert second.fence > lease.fence

    async def test_of_four_processes_one_leads(self, place: Place, storage: Storage) -> None:
        body = """
            heard()
            lease = await storage.leases.acquire(this_process(), 60)
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
            lease = await storage.leases.acquire(this_process(), 60)
            assert lease is not None
            assert lease.fence == 2


def proven_calls(protocol: type) -> Iterator[str]:
    """Yield the names of a protocol's methods that take a lease as proof of leadership."""
    for name, method in inspect.getmembers(protocol, inspect.isfunction):
        if "lease" in inspect.signature(method).parameters:
            yield name
