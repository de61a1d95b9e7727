"""Artifacts whose time is over, and contents of jobs that no row knows."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ci_common.artifacts.directory import DirectoryStore
from ci_common.artifacts.store import Kept, StoreUnavailable
from ci_common.attempts.parts import Artifact, JobArtifacts
from ci_common.jobs import Conclusion, Job, State, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.times import to_micros, utc_now
from ci_controller.gc.artifacts import ExpiredArtifacts, OrphanArtifacts, submitted
from ci_controller.gc.expired_jobs import Ages
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.artifact_store.suite import Bytes, nothing
from tests.helpers.installation import leading
from tests.helpers.jobs import PLENTY, new_job
from tests.unit.controller.gc.rounds import one_round


class Bench:
    def __init__(self, directory: Path, storage: Storage, lease: Lease) -> None:
        self.storage = storage
        self.lease = lease
        self.store = DirectoryStore(DataDirectory(directory).artifacts)
        self.now = utc_now()

    async def kept(self, prefix: str, content: bytes = b"x") -> str:
        (one,) = await self.store.keep([Bytes(f"{prefix}/0", content)], nothing)
        assert isinstance(one, Kept)
        return one.key

    async def ended(self, *, expires: datetime | None) -> Job:
        """Store a job that ended two days ago, with one artifact."""
        job = await self.storage.jobs.add(new_job(), max_queued=PLENTY)
        key = await self.kept(f"{job.id}/1/{new_job_id()}")
        micros = None if expires is None else to_micros(expires)
        files = (Artifact("a", 1, "0" * 64, "text/plain", key, expires=micros),)
        end = {"conclusion": Conclusion.SUCCEEDED, "end_time": self.now - timedelta(days=2)}
        artifacts = JobArtifacts(1, 1, files)
        return await self.storage.jobs.update(job, self.lease, state=State.COMPLETED, artifacts=artifacts, **end)

    def expired(self) -> ExpiredArtifacts:
        ages = Ages(Settings(), self.storage.retention, lambda: self.now)
        return ExpiredArtifacts(ages, self.store, self.storage.artifacts, self.lease, check=lambda: None)

    def orphans(self, oldest: datetime | None) -> OrphanArtifacts:
        async def oldest_job() -> datetime | None:
            return oldest

        return OrphanArtifacts(self.store, self.storage.jobs, oldest_job, check=lambda: None)

    async def jobs(self) -> set[str]:
        return {job async for job in self.store.jobs()}

    async def is_there(self, job: Job) -> bool:
        assert job.artifacts is not None
        return (self.store._path / job.artifacts.files[0].key).exists()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with leading(tmp_path) as (storage, lease):
        yield Bench(tmp_path, storage, lease)


async def test_what_has_expired_goes_and_its_row_stays(bench: Bench) -> None:
    gone = await bench.ended(expires=bench.now - timedelta(seconds=1))
    later, kept = await bench.ended(expires=bench.now + timedelta(hours=1)), await bench.ended(expires=None)
    await one_round(bench.expired())
    assert [await bench.is_there(job) for job in (gone, later, kept)] == [False, True, True]
    assert [one.removed for one in await bench.storage.artifacts.all_of(gone.id, 1)] == [True]
    bench.now += timedelta(hours=2)
    await one_round(bench.expired())
    assert [await bench.is_there(job) for job in (gone, later, kept)] == [False, False, True]


async def test_a_clock_that_may_be_wrong_removes_nothing(bench: Bench) -> None:
    job = await bench.ended(expires=bench.now)
    bench.now += timedelta(days=400)
    await one_round(bench.expired())
    assert await bench.is_there(job)


async def test_what_the_store_does_not_remove_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await bench.ended(expires=bench.now - timedelta(seconds=1)) for _ in range(2)]

    async def remove(prefix: str) -> None:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "remove", remove)
        collector = bench.expired()
        batches = [await collector.remove(batch) async for batch in collector.find()]
    assert [len(batch) for batch in batches] == [2], "one round tries each once"
    assert all([await bench.is_there(job) for job in jobs])
    await one_round(bench.expired())
    assert not any([await bench.is_there(job) for job in jobs])


async def test_contents_without_a_row_go_once_no_kept_job_is_as_old(bench: Bench) -> None:
    known, orphan = await bench.ended(expires=None), new_job_id()
    await bench.kept(f"{orphan}/1/x")
    for oldest in (None, submitted(orphan) - timedelta(seconds=1)):
        await one_round(bench.orphans(oldest))
        assert await bench.jobs() == {known.id, orphan}
    await one_round(bench.orphans(utc_now() + timedelta(days=1)))
    assert await bench.jobs() == {known.id}


def test_an_id_tells_when_its_job_was_submitted() -> None:
    assert abs(submitted(new_job_id()) - utc_now()) < timedelta(seconds=5)
