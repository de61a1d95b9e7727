"""What every `RetentionStore` promises. An implementation subclasses it and gives `place`."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from ci_common.errors import JobNotFound, StaleWrite
from ci_common.jobs import Attempt, Conclusion, Job, State, new_job_id
from ci_common.system.processes import this_process
from ci_persistence.job_lists import JobFilter
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.retention import Ended, Removal
from tests.contracts.storage_place import Base
from tests.helpers.jobs import NOON, PLENTY, bring, new_job

FAILURES = frozenset({Conclusion.FAILED, Conclusion.ERRORED})


def hours(number: int) -> timedelta:
    return timedelta(hours=number)


class Finding(Base):
    @pytest.fixture
    async def jobs(self, storage: Storage, lease: Lease) -> list[Job]:
        """Return six completed jobs; the one with number n ended n hours after noon. Others have not completed."""
        kinds: list[tuple[Conclusion, dict[str, Any]]] = [
            (Conclusion.SUCCEEDED, {"project": "alpha"}),
            (Conclusion.FAILED, {"project": "alpha", "has_upload": True}),
            (Conclusion.SUCCEEDED, {"project": "beta"}),
            (Conclusion.ERRORED, {}),
            (Conclusion.CANCELLED, {"has_upload": True}),
            (Conclusion.SUCCEEDED, {"project": "alpha"}),
        ]
        jobs = [await storage.jobs.add(new_job(**fields), max_queued=PLENTY) for _, fields in kinds]
        for number in (3, 1, 5, 0, 4, 2):
            ended = {"conclusion": kinds[number][0], "end_time": NOON + hours(number)}
            jobs[number] = await storage.jobs.update(jobs[number], lease, state=State.COMPLETED, **ended)
        for state in (State.QUEUED, State.STARTING, State.RUNNING):
            await bring(storage, lease, await storage.jobs.add(new_job(project="alpha"), max_queued=PLENTY), state)
        return jobs

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (Ended(), [0, 1, 2, 3, 4, 5]),
            (Ended(project="alpha"), [0, 1, 5]),
            (Ended(project="gamma"), []),
            (Ended(other_than=frozenset({"alpha"})), [2, 3, 4]),
            (Ended(other_than=frozenset({"alpha", "beta"})), [3, 4]),
            (Ended(conclusions=FAILURES), [1, 3]),
            (Ended(with_upload=True), [1, 4]),
            (Ended(before=NOON + hours(2)), [0, 1]),
            (Ended(since=NOON + hours(2)), [2, 3, 4, 5]),
            (Ended(since=NOON + hours(1), before=NOON + hours(4)), [1, 2, 3]),
            (Ended(keep=2), [0, 1, 2, 3]),
            (Ended(keep=6), []),
            (Ended(keep=7), []),
            (Ended(keep=1, project="alpha"), [0, 1]),
            (Ended(keep=1, conclusions=FAILURES), [1]),
            (Ended(keep=4, before=NOON + hours(1)), [0]),
            (Ended(keep=1, project="alpha", before=NOON + hours(1)), [0]),
            (Ended(keep=1, other_than=frozenset({"beta"}), conclusions=frozenset({Conclusion.SUCCEEDED})), [0]),
        ],
    )
    async def test_finds_the_oldest_first(
        self, storage: Storage, jobs: list[Job], where: Ended, expected: list[int]
    ) -> None:
        assert await storage.retention.ended(where, limit=10) == [jobs[number].id for number in expected]
        assert await storage.retention.ended(where, limit=1) == [jobs[number].id for number in expected[:1]]

    async def test_jobs_that_ended_at_once_are_kept_by_their_ids(self, storage: Storage, lease: Lease) -> None:
        jobs = [await storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(4)]
        jobs = [await bring(storage, lease, job, State.COMPLETED) for job in jobs]
        assert await storage.retention.ended(Ended(keep=1), limit=10) == [job.id for job in jobs[:3]]

    async def test_crowded_projects(self, storage: Storage, jobs: list[Job]) -> None:
        assert sorted(await storage.retention.crowded_projects(0)) == ["alpha", "beta"]
        assert await storage.retention.crowded_projects(2) == ["alpha"]
        assert await storage.retention.crowded_projects(3) == []


class Deleting(Base):
    async def finished(self, storage: Storage, lease: Lease, **fields: Any) -> Job:
        return await bring(
            storage, lease, await storage.jobs.add(new_job(**fields), max_queued=PLENTY), State.COMPLETED
        )

    async def test_a_deleted_job_is_gone_and_leaves_a_removal(self, storage: Storage, lease: Lease) -> None:
        job = await self.finished(storage, lease, image="busybox")
        other = await self.finished(storage, lease)
        assert await storage.retention.removals(limit=9) == []
        assert await storage.retention.delete([job.id]) == [job.id]
        with pytest.raises(JobNotFound):
            await storage.jobs.get(job.id)
        assert await storage.jobs.list_jobs(JobFilter(), limit=9) == [other]
        assert await storage.retention.removals(limit=9) == [Removal(job.id, frozenset({"process"}))]
        assert await storage.retention.count_removals() == 1
        assert await storage.retention.delete([job.id]) == []
        assert await storage.retention.count_removals() == 1

    async def test_nothing_can_be_written_about_it_any_more(self, storage: Storage, lease: Lease) -> None:
        job = await self.finished(storage, lease)
        await storage.retention.delete([job.id])
        with pytest.raises(JobNotFound):
            await storage.jobs.update(job, lease, error="x")
        with pytest.raises(JobNotFound):
            await storage.jobs.request_cancel(job.id, NOON)

    @pytest.mark.parametrize("state", [State.QUEUED, State.STARTING, State.RUNNING])
    async def test_what_has_not_completed_stays(self, storage: Storage, lease: Lease, state: State) -> None:
        active = await bring(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY), state)
        completed = await self.finished(storage, lease)
        later = await self.finished(storage, lease)
        asked = [later.id, active.id, new_job_id(), completed.id, later.id]
        assert await storage.retention.delete(asked) == [later.id, completed.id]
        assert await storage.jobs.get(active.id) == active

    async def test_a_removal_names_the_runtimes_of_all_attempts(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(max_attempts=2), max_queued=PLENTY)
        job = await storage.jobs.update(job, lease, state=State.STARTING, runtime="docker")
        earlier = Attempt(number=1, conclusion=Conclusion.ERRORED, end_time=NOON, runtime="docker")
        again: dict[str, Any] = {"runtime": None, "attempt": 2, "earlier_attempts": (earlier,)}
        job = await bring(
            storage, lease, await storage.jobs.update(job, lease, state=State.QUEUED, **again), State.COMPLETED
        )
        cancelled = await storage.jobs.add(new_job(), max_queued=PLENTY)
        ended = {"conclusion": Conclusion.CANCELLED, "end_time": NOON}
        await storage.jobs.update(cancelled, lease, state=State.COMPLETED, **ended)
        await storage.retention.delete([job.id, cancelled.id])
        left = {removal.job_id: removal.runtimes for removal in await storage.retention.removals(limit=9)}
        assert left == {job.id: {"docker", "process"}, cancelled.id: frozenset()}

    async def test_many_at_once_let_others_write_in_between(self, storage: Storage, lease: Lease) -> None:
        jobs = [await storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(1000)]
        ended = {"state": State.COMPLETED, "conclusion": Conclusion.CANCELLED, "end_time": NOON}
        await asyncio.gather(*(storage.jobs.update(job, lease, **ended) for job in jobs))
        deleting = asyncio.create_task(storage.retention.delete([job.id for job in jobs]))
        left = []
        while not deleting.done():
            await storage.jobs.add(new_job(), max_queued=PLENTY)
            left.append(len(await storage.retention.ended(Ended(), limit=PLENTY)))
        assert await deleting == [job.id for job in jobs]
        assert len(set(left)) > 2, "another writer has waited for all of it"
        assert await storage.retention.count_removals() == 1000

    async def test_two_who_delete_the_same_share_it(self, storage: Storage, lease: Lease) -> None:
        jobs = [await self.finished(storage, lease) for _ in range(10)]
        ids = [job.id for job in jobs]
        deleted = await asyncio.gather(storage.retention.delete(ids), storage.retention.delete(ids))
        assert sorted(deleted[0] + deleted[1]) == ids

    async def test_only_the_leader_deletes_as_one_and_forgets(self, storage: Storage, lease: Lease) -> None:
        job = await self.finished(storage, lease)
        await storage.leases.release(lease)
        newer = await storage.leases.acquire(this_process(), 60, NOON)
        assert newer is not None
        with pytest.raises(StaleWrite):
            await storage.retention.delete([job.id], lease=lease)
        assert await storage.jobs.get(job.id) == job
        assert await storage.retention.delete([job.id], lease=newer) == [job.id]
        with pytest.raises(StaleWrite):
            await storage.retention.forget_removals([job.id], lease)
        assert await storage.retention.count_removals() == 1
        assert await storage.retention.delete([job.id], lease=newer) == []
        await storage.retention.forget_removals([job.id], newer)
        await storage.retention.forget_removals([job.id], newer)
        assert await storage.retention.count_removals() == 0

    async def test_removals_are_read_in_pages(self, storage: Storage, lease: Lease) -> None:
        jobs = [await self.finished(storage, lease) for _ in range(5)]
        await storage.retention.delete([job.id for job in jobs])
        first = await storage.retention.removals(limit=3)
        rest = await storage.retention.removals(after=first[-1].job_id, limit=3)
        assert [removal.job_id for removal in first + rest] == [job.id for job in jobs]


class RetentionSuite(Finding, Deleting):
    """All of it."""
