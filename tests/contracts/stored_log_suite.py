"""What every `Storage` promises about logs that are in the artifact store."""

import pytest

from ci_common.errors import LeadershipLost
from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.system.processes import this_process
from ci_persistence.storage import Storage
from ci_persistence.stores.kept.logs import StoredLog
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base
from tests.helpers.jobs import NOON, PLENTY, new_job

ONE = StoredLog(2**40, 16)


async def running(storage: Storage, lease: Lease, job: Job) -> Job:
    for state in (State.STARTING, State.RUNNING):
        job = await storage.jobs.update(job, lease, state=state, runtime="process")
    return job


class StoredLogSuite(Base):
    async def test_is_noted_once_the_attempt_has_ended(self, storage: Storage, lease: Lease) -> None:
        job = await running(storage, lease, await storage.jobs.add(new_job(max_attempts=2), max_queued=PLENTY))
        await storage.logs.note(job.id, 1, ONE, lease)
        assert await storage.logs.find(job.id, 1) is None
        first = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON, exit_code=1)
        again = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (first,)}
        job = await storage.jobs.update(job, lease, **again)
        for number in (1, 2):
            await storage.logs.note(job.id, number, ONE, lease)
        assert [await storage.logs.find(job.id, number) for number in (1, 2)] == [ONE, None]
        job = await running(storage, lease, job)
        await storage.jobs.update(
            job, lease, state=State.COMPLETED, conclusion=Conclusion.SUCCEEDED, end_time=NOON, log_bytes=3
        )
        await storage.logs.note(job.id, 2, StoredLog(3, 0), lease)
        assert await storage.logs.find(job.id, 2) == StoredLog(3, 0)

    async def test_what_is_noted_stays_as_it_is(self, storage: Storage, lease: Lease) -> None:
        job = await self._ended(storage, lease)
        for stored in (ONE, StoredLog(1, 2)):
            await storage.logs.note(job.id, 1, stored, lease)
        assert await storage.logs.find(job.id, 1) == ONE

    async def test_goes_with_its_job(self, storage: Storage, lease: Lease) -> None:
        job = await self._ended(storage, lease)
        await storage.logs.note(job.id, 1, ONE, lease)
        await storage.retention.delete([job.id])
        assert await storage.logs.find(job.id, 1) is None
        await storage.logs.note(job.id, 1, ONE, lease)
        assert await storage.logs.find(job.id, 1) is None

    async def test_a_former_leader_notes_nothing(self, storage: Storage, lease: Lease) -> None:
        job = await self._ended(storage, lease)
        assert await storage.leases.acquire(this_process(), 10, await storage.leases.state()) is not None
        with pytest.raises(LeadershipLost):
            await storage.logs.note(job.id, 1, ONE, lease)
        assert await storage.logs.find(job.id, 1) is None

    async def _ended(self, storage: Storage, lease: Lease) -> Job:
        job = await running(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY))
        end = {"conclusion": Conclusion.SUCCEEDED, "end_time": NOON, "log_bytes": 3}
        return await storage.jobs.update(job, lease, state=State.COMPLETED, **end)
