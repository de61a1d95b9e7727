"""What every `Storage` promises about quotas: exact, however many clients there are."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ci_common.attempts.parts import Artifact, JobArtifacts
from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.quotas import Ceiling, Quota, QuotaExceeded
from ci_common.times import to_micros
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.cache_suite import KEPT
from tests.contracts.storage_place import Base, Place
from tests.helpers.jobs import NOON, PLENTY, bring, new_job

CLIENTS = 64


def ceiling(quota: Quota, limit: int, kind: Any = "project", name: str = "website") -> Ceiling:
    return Ceiling(kind, name, quota, limit)


async def tried(storage: Storage, *ceilings: Ceiling, **fields: Any) -> Job | QuotaExceeded:
    job = new_job(**{"project": "website", "owner": "alice", **fields})
    try:
        return await storage.jobs.add(job, max_queued=PLENTY, ceilings=ceilings)
    except QuotaExceeded as exc:
        return exc


def artifacts(*sizes: int) -> JobArtifacts:
    files = tuple(
        Artifact(path=f"{n}", size=size, sha256="a" * 64, content_type="x/y", key=f"k{n}", expires=to_micros(NOON))
        for n, size in enumerate(sizes)
    )
    return JobArtifacts(number=len(files), bytes=sum(sizes), files=files)


async def used(storage: Storage, quota: Quota, kind: Any = "project", name: str = "website") -> int:
    return (await storage.quotas.used(kind, name))[quota]


class QuotaSuite(Base):
    @pytest.mark.parametrize("kind", ["project", "owner"])
    async def test_of_64_clients_exactly_as_many_are_accepted_as_the_quota_has_room_for(
        self, place: Place, kind: str
    ) -> None:
        """Half of them by another server process."""
        first, second = place.storage(), place.storage()
        limit = ceiling(Quota.QUEUED, 10, kind, "website" if kind == "project" else "alice")
        await first.open()
        await second.open()
        try:
            done = await asyncio.gather(*(tried((first, second)[n % 2], limit) for n in range(CLIENTS)))
            refused = [each for each in done if isinstance(each, QuotaExceeded)]
            assert (len(done) - len(refused), await first.queue.length()) == (10, 10)
            assert {each.figures["used"] for each in refused} <= {10, 11, 12}
            assert await used(first, Quota.QUEUED) == 10
        finally:
            await first.close()
            await second.close()

    async def test_a_refused_job_leaves_nothing(self, storage: Storage) -> None:
        assert isinstance(await tried(storage, ceiling(Quota.QUEUED, 0)), QuotaExceeded)
        assert (await storage.queue.length(), await used(storage, Quota.STORED)) == (0, 0)

    async def test_of_64_uploads_as_many_are_stored_as_there_is_room_for(self, storage: Storage) -> None:
        limit = ceiling(Quota.STORED, 1000)
        done = await asyncio.gather(*(tried(storage, limit, upload_bytes=100) for _ in range(CLIENTS)))
        assert sum(isinstance(each, Job) for each in done) == 10
        assert await used(storage, Quota.STORED) == await used(storage, Quota.STORED, "owner", "alice") == 1000

    async def test_other_projects_and_owners_have_quotas_of_their_own(self, storage: Storage) -> None:
        limit = ceiling(Quota.QUEUED, 1)
        assert isinstance(await tried(storage, limit), Job)
        assert isinstance(await tried(storage, limit), QuotaExceeded)
        assert isinstance(await tried(storage, replace(limit, name="other"), project="other"), Job)
        assert isinstance(await tried(storage, project=None), Job)
        assert await used(storage, Quota.QUEUED, "owner", "alice") == 3

    async def test_only_so_many_start_as_may_run(self, storage: Storage, lease: Lease) -> None:
        jobs = [await tried(storage) for _ in range(20)]
        limit = ceiling(Quota.RUNNING, 3)

        async def started(job: Job | QuotaExceeded) -> bool:
            assert isinstance(job, Job)
            try:
                await storage.jobs.update(job, lease, ceilings=[limit], state=State.STARTING)
            except QuotaExceeded:
                return False
            return True

        assert sum(await asyncio.gather(*(started(job) for job in jobs))) == 3
        assert (await used(storage, Quota.RUNNING), await used(storage, Quota.QUEUED)) == (3, 17)
        assert len(await storage.queue.active()) == 3

    async def test_bytes_come_and_go_with_jobs(self, storage: Storage, lease: Lease) -> None:
        job = await tried(storage, upload_bytes=100, max_attempts=2)
        job = await _ended(storage, lease, job, 10, artifacts(1, 2))
        assert await used(storage, Quota.STORED) == 113
        other = await tried(storage, upload_bytes=1000)
        assert await used(storage, Quota.STORED) == 1113

        await storage.artifacts.note_removed(["k0"], NOON + timedelta(seconds=1), lease)
        assert await used(storage, Quota.STORED) == 1112
        await storage.retention.delete([job.id])
        assert await used(storage, Quota.STORED) == await used(storage, Quota.STORED, "owner", "alice") == 1000
        await storage.retention.delete([(await _ended(storage, lease, other, 5, None)).id])
        assert await used(storage, Quota.STORED) == 0

    async def test_the_logs_of_all_attempts_count(self, storage: Storage, lease: Lease) -> None:
        job = await tried(storage, max_attempts=2)
        assert isinstance(job, Job)
        job = await bring(storage, lease, job, State.RUNNING)
        ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON, log_bytes=7, artifacts=artifacts(1))
        job = await storage.jobs.update(
            job, lease, state=State.QUEUED, attempt=2, start_time=None, runtime=None, earlier_attempts=(ended,)
        )
        assert await used(storage, Quota.STORED) == 8
        job = await _ended(storage, lease, job, 5, None)
        assert await used(storage, Quota.STORED) == 13
        await storage.retention.delete([job.id])
        assert await used(storage, Quota.STORED) == 0

    async def test_caches_count(self, storage: Storage, lease: Lease) -> None:
        await storage.caches.keep(replace(KEPT, owner="alice", project="website", size=50), lease)
        assert await used(storage, Quota.STORED) == await used(storage, Quota.STORED, "owner", "alice") == 50
        refused = await tried(storage, ceiling(Quota.STORED, 100), upload_bytes=51)
        assert isinstance(refused, QuotaExceeded)
        assert refused.figures == {"quota": "stored", "quota_of": "project", "limit": 100, "used": 50}


async def _ended(
    storage: Storage, lease: Lease, job: Job | QuotaExceeded, log_bytes: int, kept: JobArtifacts | None
) -> Job:
    assert isinstance(job, Job)
    job = await bring(storage, lease, job, State.RUNNING)
    ended = {"state": State.COMPLETED, "conclusion": Conclusion.SUCCEEDED, "end_time": NOON}
    return await storage.jobs.update(job, lease, **ended, log_bytes=log_bytes, artifacts=kept)
