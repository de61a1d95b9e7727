"""What concurrency groups promise. An implementation subclasses it and gives `place`."""

import asyncio
from typing import Any

import pytest

from ci_common.errors import QueueFull
from ci_common.jobs import Job, State
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.outbox import Cursor, Event
from ci_persistence.stores.submissions import AlreadySubmitted, SubmissionKey
from tests.contracts.storage_place import Base, Place
from tests.helpers.jobs import PLENTY, bring, new_job

REPLACING: dict[str, Any] = {"concurrency_group": "deploy", "cancel_running": True}


async def add(storage: Storage, **fields: Any) -> Job:
    return await storage.jobs.add(new_job(**{"concurrency_group": "deploy"} | fields), max_queued=PLENTY)


async def replaced(storage: Storage, *jobs: Job) -> list[str | None]:
    """Return by which job each of these is replaced, None for one that no request has cancelled."""
    now = [await storage.jobs.get(job.id) for job in jobs]
    assert all((job.cancel_requested_time is None) == (job.replaced_by is None) for job in now)
    return [job.replaced_by for job in now]


class GroupSuite(Base):
    async def test_the_newest_cancels_all_others_of_its_group(self, storage: Storage, lease: Lease) -> None:
        ended = await bring(storage, lease, await add(storage), State.COMPLETED)
        running = await bring(storage, lease, await add(storage), State.RUNNING)
        waiting = [await add(storage) for _ in range(2)]
        newest = await add(storage, **REPLACING)
        assert await replaced(storage, running, *waiting) == [newest.id] * 3
        assert await replaced(storage, ended, newest) == [None, None]
        events = await storage.outbox.read(Cursor(), limit=1000)
        cancelled = {entry.job_id for entry in events if entry.event is Event.CANCEL_REQUESTED}
        assert cancelled == {running.id, *(job.id for job in waiting)}

    async def test_without_being_told_to_it_cancels_none(self, storage: Storage) -> None:
        first, second = await add(storage), await add(storage)
        assert await replaced(storage, first, second) == [None, None]

    async def test_a_group_ends_with_its_project_or_owner(self, storage: Storage) -> None:
        others = [
            await add(storage, project="other"),
            await add(storage),
            await add(storage, project="p", concurrency_group="test"),
            await add(storage, project="p", concurrency_group=None),
        ]
        of_another_owner = await add(storage, project="p", owner="bob")
        newest = await add(storage, project="p", owner="alice", **REPLACING)
        assert await replaced(storage, *others) == [None] * 4
        assert await replaced(storage, of_another_owner) == [newest.id], "a project is shared"
        mine, yours = await add(storage, owner="alice"), await add(storage, owner="bob")
        newest = await add(storage, owner="alice", **REPLACING)
        assert await replaced(storage, mine, yours) == [newest.id, None]

    async def test_a_cancelled_job_stays_cancelled_by_the_first(self, storage: Storage, lease: Lease) -> None:
        running = await bring(storage, lease, await add(storage), State.RUNNING)
        second = await add(storage, **REPLACING)
        third = await add(storage, **REPLACING)
        assert await replaced(storage, running, second, third) == [second.id, third.id, None]
        stopping = await storage.jobs.update(running, lease, reason=None)
        assert stopping.replaced_by == second.id, "the controller learns of it with its next write"

    async def test_where_the_queue_is_full_nothing_is_replaced(self, storage: Storage) -> None:
        first = await add(storage)
        with pytest.raises(QueueFull):
            await storage.jobs.add(new_job(**REPLACING), max_queued=1)
        assert await replaced(storage, first) == [None]

    async def test_a_submission_that_is_sent_again_replaces_nothing(self, storage: Storage) -> None:
        key = SubmissionKey("local", "a key", "digest")
        first = await storage.jobs.add(new_job(**REPLACING), max_queued=PLENTY, key=key)
        second = await add(storage, **REPLACING)
        with pytest.raises(AlreadySubmitted):
            await storage.jobs.add(new_job(**REPLACING), max_queued=PLENTY, key=key)
        assert await replaced(storage, first, second) == [second.id, None]

    async def test_of_many_that_come_at_once_one_is_left(self, place: Place, storage: Storage) -> None:
        other = place.storage()
        await other.open()
        adding = [add(each, **REPLACING) for _ in range(20) for each in (storage, other)]
        jobs = await asyncio.gather(*adding)
        assert (await replaced(storage, *jobs)).count(None) == 1
        assert await storage.queue.length() == 40
        await other.close()

    async def test_cancel_requests_and_starts_beside_it_wait_for_none(self, storage: Storage, lease: Lease) -> None:
        """What locks rows in another order would end in deadlocks, which the databases end by an error."""
        jobs = [await add(storage, concurrency_group=f"g{n % 3}") for n in range(12)]
        starting = [bring(storage, lease, job, State.COMPLETED) for job in jobs[:3]]
        adding = [add(storage, **REPLACING | {"concurrency_group": f"g{n % 3}"}) for n in range(12)]
        cancelling = [storage.jobs.request_cancel(job.id, job.submit_time) for job in jobs[3:]]
        await asyncio.gather(*starting, *adding, *cancelling)

    async def test_one_job_of_a_group_holds_a_slot(self, storage: Storage, lease: Lease) -> None:
        """The database refuses a second one, whatever a controller believes."""
        first, second, third = await add(storage), await add(storage), await add(storage, project="p")
        first = await bring(storage, lease, first, State.STARTING)
        await bring(storage, lease, third, State.RUNNING)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"jobs_one_of_group|UNIQUE"):
                await bring(storage, lease, second, State.STARTING)
            first = await storage.jobs.update(first, lease, state=State.RUNNING)
        ended = {"state": State.COMPLETED, "conclusion": "succeeded", "end_time": first.submit_time}
        await storage.jobs.update(first, lease, **ended)
        await bring(storage, lease, second, State.RUNNING)
