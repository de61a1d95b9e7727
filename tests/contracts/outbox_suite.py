"""What the outbox promises. An implementation subclasses it and gives `place`."""

import asyncio
from datetime import timedelta

from ci_common.jobs import Conclusion, ReasonCode, State
from ci_common.times import utc_now
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.outbox import Cursor, Entry, Event, Place
from tests.contracts.storage_place import Base
from tests.helpers.jobs import PLENTY, bring, new_job


async def everything(storage: Storage, *, at_once: int = 1000) -> list[Entry]:
    """Return all entries, read as a reader does: from cursor to cursor."""
    found: list[Entry] = []
    cursor = Cursor()
    while page := await storage.outbox.read(cursor, limit=at_once):
        found += page
        cursor = Cursor.parse(str(page[-1].cursor))
    return found


class OutboxSuite(Base):
    async def test_every_change_of_state_leaves_an_entry(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(project="p", max_attempts=2), max_queued=PLENTY)
        await bring(storage, lease, job, State.RUNNING)
        await storage.jobs.request_cancel(job.id, utc_now())
        await storage.jobs.request_cancel(job.id, utc_now())
        running = await storage.jobs.update(await storage.jobs.get(job.id), lease, error="no change of state")
        end = {"state": State.COMPLETED, "conclusion": Conclusion.FAILED, "end_time": utc_now()}
        await storage.jobs.update(running, lease, **end)
        await storage.retention.delete([job.id])
        entries = await everything(storage, at_once=2)
        assert [entry.event for entry in entries] == [
            Event.QUEUED,
            Event.STARTING,
            Event.RUNNING,
            Event.CANCEL_REQUESTED,
            Event.COMPLETED,
            Event.DELETED,
        ]
        assert {(entry.job_id, entry.project, entry.owner, entry.attempt) for entry in entries} == {
            (job.id, "p", "local", 1)
        }
        assert entries[0].reason_code is ReasonCode.WAITING_FOR_CONTROLLER
        assert entries[4].conclusion is Conclusion.FAILED
        assert all(utc_now() - entry.time < timedelta(minutes=5) for entry in entries)

    async def test_a_reader_misses_no_entry_of_many_writers(self, storage: Storage) -> None:
        others = 40
        seen: list[str] = []

        async def read() -> None:
            cursor = Cursor()
            while len(seen) < others:
                page = await storage.outbox.read(cursor, limit=7)
                seen.extend(entry.job_id for entry in page)
                cursor = page[-1].cursor if page else cursor

        reading = asyncio.create_task(read())
        added = [storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(others)]
        jobs = await asyncio.gather(*added)
        await asyncio.wait_for(reading, 60)
        assert sorted(seen) == sorted(job.id for job in jobs)

    async def test_a_refused_change_leaves_none(self, storage: Storage) -> None:
        job = new_job()
        await storage.jobs.add(job, max_queued=PLENTY)
        await asyncio.gather(storage.jobs.add(job, max_queued=PLENTY), return_exceptions=True)
        assert len(await everything(storage)) == 1

    async def test_old_entries_are_pruned_oldest_first(self, storage: Storage) -> None:
        jobs = [await storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(5)]
        assert await storage.outbox.prune(utc_now() - timedelta(days=1), limit=10) == 0
        assert await storage.outbox.prune(utc_now() + timedelta(days=1), limit=3) == 3
        assert [entry.job_id for entry in await everything(storage)] == [job.id for job in jobs[3:]]

    async def test_a_place_is_known_as_long_as_its_entry_is_there(self, storage: Storage) -> None:
        assert await storage.outbox.last() == Place()
        assert await storage.outbox.has(Place())
        for _ in range(3):
            await storage.jobs.add(new_job(), max_queued=PLENTY)
        entries = await everything(storage)
        last = await storage.outbox.last()
        assert last == entries[-1].place == Place.parse(str(last))
        assert await storage.outbox.has(last)
        assert await storage.outbox.has(entries[0].place)
        assert not await storage.outbox.has(Place(last.cursor, last.time + 1)), "that of another database"
        assert not await storage.outbox.has(Place()), "what came between is not known to be there"
        await storage.outbox.prune(utc_now() + timedelta(days=1), limit=1)
        assert not await storage.outbox.has(entries[0].place)
        assert await storage.outbox.has(last)
