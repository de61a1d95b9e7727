"""What the controller asks of the queue. An implementation subclasses it and gives `place`."""

from typing import Any

from ci_common.jobs import Conclusion, State
from ci_common.times import utc_now
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base
from tests.helpers.jobs import NOON, PLENTY, bring, new_job


class QueueSuite(Base):
    async def test_jobs_are_queued_by_priority_and_then_in_order(self, storage: Storage) -> None:
        fields: list[dict[str, Any]] = [{"project": "a"}, {"project": "b"}, {"priority": 7}, {"project": "a"}]
        added = [await storage.jobs.add(new_job(**each), max_queued=PLENTY) for each in fields]
        assert [job.id for job in await storage.queue.queued()] == [added[n].id for n in (2, 0, 1, 3)]

    async def test_all_unfinished_jobs_have_a_standing(self, storage: Storage, lease: Lease) -> None:
        fields: list[dict[str, Any]] = [{"project": "a"}, {"owner": "bob"}, {"priority": 7}]
        added = [await storage.jobs.add(new_job(**each), max_queued=PLENTY) for each in fields]
        await bring(storage, lease, added[0], State.RUNNING)
        await bring(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY), State.COMPLETED)
        found = await storage.queue.standing()
        assert [job.job_id for job in found] == [added[n].id for n in (2, 0, 1)]
        assert [(job.state, job.project, job.owner, job.priority) for job in found] == [
            (State.QUEUED, None, "local", 7),
            (State.RUNNING, "a", "local", 0),
            (State.QUEUED, None, "bob", 0),
        ]
        assert (found[1].submit_time, found[1].reason, found[2].reason) == (NOON, None, added[1].reason)

    async def test_the_latest_turns_are_those_of_the_latest_starts(self, storage: Storage, lease: Lease) -> None:
        owners = [("a", "alice"), (None, "alice"), ("b", "bob"), (None, "bob"), ("a", "alice"), ("c", "carol")]
        for project, owner in owners:
            job = await storage.jobs.add(new_job(project=project, owner=owner), max_queued=PLENTY)
            if project != "c":
                await bring(storage, lease, job, State.RUNNING)
        assert await storage.queue.latest_turns(limit=1000) == [
            *[(None, "alice"), ("b", "bob"), (None, "bob"), ("a", "alice")]
        ]
        assert await storage.queue.latest_turns(limit=4) == [("a", "alice")], "queued, starting, running, queued"

    async def test_a_job_that_never_started_has_had_no_turn(self, storage: Storage, lease: Lease) -> None:
        job = await storage.jobs.add(new_job(project="a"), max_queued=PLENTY)
        end = {"state": State.COMPLETED, "conclusion": Conclusion.CANCELLED, "end_time": utc_now()}
        await storage.jobs.update(job, lease, **end)
        assert await storage.queue.latest_turns(limit=1000) == []
