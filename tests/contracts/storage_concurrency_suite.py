"""What a `Storage` promises when many use it at once. An implementation subclasses it and gives `place`."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from ci_common.errors import StaleWrite, Unavailable
from ci_common.jobs import Job
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base, Place, said, tell
from tests.helpers.jobs import NOON, PLENTY, new_job
from tests.helpers.waiting import eventually


class Concurrency(Base):
    @pytest.fixture
    async def other(self, place: Place) -> AsyncIterator[Storage]:
        """A second storage on the same jobs."""
        other = place.storage()
        await other.open()
        yield other
        await other.close()

    async def test_64_tasks_add(self, storage: Storage) -> None:
        async def add_some() -> list[Job]:
            return [await storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(8)]

        added = [job for jobs in await asyncio.gather(*(add_some() for _ in range(64))) for job in jobs]
        assert await storage.queue.queued() == sorted(added, key=lambda job: job.id)

    async def test_two_storages_share_the_limit(self, storage: Storage, other: Storage) -> None:
        adding = (place.jobs.add(new_job(), max_queued=30) for _ in range(40) for place in (storage, other))
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        assert sum(isinstance(outcome, Job) for outcome in outcomes) == 30
        assert len(await storage.queue.queued()) == len(await other.queue.queued()) == 30

    async def test_one_of_many_racing_updates_wins(self, storage: Storage, other: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        racing = (
            (storage if number % 2 else other).jobs.update(job, lease, error=f"writer {number}") for number in range(20)
        )
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        winners = [outcome for outcome in outcomes if isinstance(outcome, Job)]
        assert winners == [await storage.jobs.get(job.id)]
        assert sum(isinstance(outcome, StaleWrite) for outcome in outcomes) == 19

    async def test_a_cancelled_caller_hurts_no_other(self, storage: Storage) -> None:
        tasks = [asyncio.create_task(storage.jobs.add(new_job(), max_queued=PLENTY)) for _ in range(30)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        added = await asyncio.gather(*tasks[1::2])
        assert {job.id for job in added} <= {job.id for job in await storage.queue.queued()}
        await asyncio.wait(tasks)

    async def test_two_processes_add(self, place: Place, storage: Storage) -> None:
        body = """
            say("ready")
            heard()
            for _ in range(100):
                say((await storage.jobs.add(new_job(), max_queued=PLENTY)).id)
        """
        async with place.process(body) as process:
            assert await said(process) == "ready"
            await tell(process)
            ours = [(await storage.jobs.add(new_job(), max_queued=PLENTY)).id for _ in range(100)]
            theirs = [await said(process) for _ in range(100)]
        assert {job.id for job in await storage.queue.queued()} == {*ours, *theirs}

    async def test_kill_in_the_middle_of_writes_loses_nothing_acknowledged(self, place: Place) -> None:
        body = """
            async def add_for_ever():
                while True:
                    say((await storage.jobs.add(new_job(payload={"text": "x" * 5000}), max_queued=PLENTY)).id)
            await asyncio.gather(*(add_for_ever() for _ in range(16)))
        """
        async with place.process(body) as process:
            acknowledged = [await said(process) for _ in range(300)]
            process.send_signal(signal.SIGKILL)
            rest, _ = await process.communicate()
        acknowledged += [line.decode() for line in rest.splitlines(keepends=False)][:-1]  # The last may be cut.
        storage = place.storage()
        await storage.open()
        kept = {job.id for job in await storage.queue.queued()}
        assert kept >= set(acknowledged)
        await storage.jobs.add(new_job(), max_queued=PLENTY)
        await storage.close()


class Changes(Base):
    async def test_the_first_comes_at_once(self, storage: Storage) -> None:
        async with asyncio.timeout(5), aclosing(storage.jobs.changes()) as changes:
            await anext(changes)

    async def test_every_writer_is_seen(self, place: Place, storage: Storage, lease: Lease) -> None:
        """A reader that reads after each yield has seen every commit of every writer."""
        other = place.storage()
        await other.open()
        seen: set[str] = set()

        async def follow() -> None:
            async with aclosing(storage.jobs.changes()) as changes:
                async for _ in changes:
                    seen.update(job.id for job in await storage.queue.queued())

        body = """
            while heard():
                say((await storage.jobs.add(new_job(), max_queued=PLENTY)).id)
        """
        following = asyncio.create_task(follow())
        async with place.process(body) as process:
            for _ in range(10):
                for writer in (storage, other):
                    added = await writer.jobs.add(new_job(), max_queued=PLENTY)
                    await eventually(lambda job=added: job.id in seen)
                await tell(process)
                theirs = await said(process)
                await eventually(lambda job_id=theirs: job_id in seen)
        following.cancel()
        await asyncio.wait({following})
        await other.close()

    async def test_a_cancel_request_and_an_update_are_changes(
        self, place: Place, storage: Storage, lease: Lease
    ) -> None:
        job = await storage.jobs.add(new_job(), max_queued=PLENTY)
        other = place.storage()
        await other.open()
        async with asyncio.timeout(5), aclosing(other.jobs.changes()) as changes:
            await anext(changes)
            await storage.jobs.request_cancel(job.id, NOON)
            while (await other.jobs.get(job.id)).cancel_requested_time is None:
                await anext(changes)
            await storage.jobs.update(job, lease, error="x")
            while (await other.jobs.get(job.id)).error is None:
                await anext(changes)
        await other.close()

    async def test_ends_with_unavailable_when_closed(self, storage: Storage) -> None:
        async def follow() -> None:
            async for _ in storage.jobs.changes():
                followed.set()

        followed = asyncio.Event()
        following = asyncio.create_task(follow())
        await followed.wait()
        await storage.close()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(following, 5)


class ConcurrencySuite(Concurrency, Changes):
    """All of it."""
