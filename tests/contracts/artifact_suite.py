"""What every `Storage` promises about artifacts."""

from dataclasses import replace
from datetime import timedelta

from ci_common.attempts.parts import SHOWN_ARTIFACTS, Artifact, JobArtifacts, LeftOut
from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.times import to_micros
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.storage_place import Base
from tests.helpers.jobs import NOON, PLENTY, new_job

ONE = Artifact("dist/größe \u202e.whl", 2**40, "0" * 64, "application/zip", "job/1/x/0", "wheels", to_micros(NOON))
TWO = Artifact("z", 0, "1" * 64, "text/plain; charset=utf-8", "job/1/x/1")
KEPT = JobArtifacts(2, 2**40, (ONE, TWO), 3, (LeftOut("a\\nb", "it is a FIFO"),))


def many(number: int) -> JobArtifacts:
    return JobArtifacts(number, 0, tuple(replace(TWO, path=f"{n:05}", key=f"k/{n}") for n in range(number)))


async def running(storage: Storage, lease: Lease, **changes: object) -> Job:
    job = await storage.jobs.add(new_job(**changes), max_queued=PLENTY)
    for state in (State.STARTING, State.RUNNING):
        job = await storage.jobs.update(job, lease, state=state, runtime="process")
    return job


async def ended(storage: Storage, lease: Lease, artifacts: JobArtifacts | None) -> Job:
    job = await running(storage, lease)
    end = {"conclusion": Conclusion.SUCCEEDED, "end_time": NOON, "artifacts": artifacts}
    return await storage.jobs.update(job, lease, state=State.COMPLETED, **end)


class ArtifactSuite(Base):
    async def test_come_with_the_end_of_a_job(self, storage: Storage, lease: Lease) -> None:
        job = await ended(storage, lease, KEPT)
        assert job.artifacts == KEPT
        assert (await storage.jobs.get(job.id)).artifacts == KEPT
        assert await storage.artifacts.all_of(job.id, 1) == [ONE, TWO]
        assert await storage.artifacts.get(job.id, 1, ONE.path) == ONE
        assert await storage.artifacts.get(job.id, 1, "dist") is None
        assert await storage.artifacts.get(job.id, 1, "\0") is None
        assert await storage.artifacts.all_of(job.id, 2) == []

    async def test_a_later_write_changes_nothing_of_them(self, storage: Storage, lease: Lease) -> None:
        seen = await storage.jobs.get((await ended(storage, lease, many(SHOWN_ARTIFACTS + 50))).id)
        again = await storage.jobs.update(seen, lease, trace={"cleared": 1})
        assert again.artifacts == seen.artifacts
        assert len(await storage.artifacts.all_of(seen.id, 1)) == SHOWN_ARTIFACTS + 50

    async def test_a_job_that_is_read_has_the_first_of_many(self, storage: Storage, lease: Lease) -> None:
        kept = many(SHOWN_ARTIFACTS + 1)
        job = await storage.jobs.get((await ended(storage, lease, kept)).id)
        assert job.artifacts == replace(kept, files=kept.files[:SHOWN_ARTIFACTS])

    async def test_a_job_without_them(self, storage: Storage, lease: Lease) -> None:
        for artifacts in (None, JobArtifacts()):
            job = await ended(storage, lease, artifacts)
            assert (await storage.jobs.get(job.id)).artifacts == artifacts

    async def test_each_attempt_has_its_own(self, storage: Storage, lease: Lease) -> None:
        job = await running(storage, lease, max_attempts=2)
        first = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON, exit_code=1, artifacts=KEPT)
        queued = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (first,), "artifacts": None}
        job = await storage.jobs.update(job, lease, **queued)
        assert (await storage.jobs.get(job.id)).artifacts is None
        for state in (State.STARTING, State.RUNNING):
            job = await storage.jobs.update(job, lease, state=state)
        second = replace(KEPT, number=1, files=(replace(TWO, key="job/2/x/0"),))
        end = {"conclusion": Conclusion.SUCCEEDED, "end_time": NOON, "artifacts": second}
        await storage.jobs.update(job, lease, state=State.COMPLETED, **end)
        read = await storage.jobs.get(job.id)
        assert read.artifacts == second
        assert read.earlier_attempts[0].artifacts == replace(KEPT, files=())
        assert await storage.artifacts.all_of(job.id, 1) == [ONE, TWO]
        assert await storage.artifacts.all_of(job.id, 2) == [*second.files]

    async def test_expired_ones_are_found_once(self, storage: Storage, lease: Lease) -> None:
        later = replace(TWO, path="later", key="later", expires=to_micros(NOON) + 1)
        job = await ended(storage, lease, JobArtifacts(3, 0, (ONE, later, TWO)))
        assert await storage.artifacts.expired(NOON - timedelta(seconds=1), limit=10) == []
        assert await storage.artifacts.expired(NOON, limit=10) == [ONE.key]
        assert await storage.artifacts.expired(NOON + timedelta(days=1), limit=10) == [ONE.key, later.key]
        assert await storage.artifacts.expired(NOON + timedelta(days=1), limit=1) == [ONE.key]
        await storage.artifacts.note_removed([ONE.key, later.key, TWO.key, "unknown"], NOON, lease)
        assert await storage.artifacts.all_of(job.id, 1) == [replace(ONE, removed=True), later, TWO]
        assert await storage.artifacts.expired(NOON + timedelta(days=1), limit=10) == [later.key]
        await storage.artifacts.note_removed([ONE.key], NOON, lease)

    async def test_go_with_the_job(self, storage: Storage, lease: Lease) -> None:
        job, other = await ended(storage, lease, KEPT), await ended(storage, lease, many(1))
        await storage.retention.delete([job.id])
        assert await storage.artifacts.all_of(job.id, 1) == []
        assert await storage.artifacts.expired(NOON, limit=10) == []
        assert len(await storage.artifacts.all_of(other.id, 1)) == 1
