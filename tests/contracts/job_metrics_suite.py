"""What every implementation of `JobMetrics` promises."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from ci_common.jobs import Attempt, Conclusion, StartWay, State
from ci_common.times import STAGES
from ci_persistence.metrics import STAGE_BOUNDS
from ci_persistence.repository import Lease
from ci_persistence.storage import Storage
from tests.contracts.job_repository_place import Base
from tests.helpers.jobs import NOON, PLENTY, bring, new_job

END = {"state": State.COMPLETED, "conclusion": Conclusion.SUCCEEDED, "end_time": NOON + timedelta(seconds=2)}


class MetricsSuite(Base):
    async def test_nothing_has_happened(self, repository: Storage) -> None:
        metrics = asdict(await repository.metrics())
        assert {name for name, value in metrics.items() if value} == set()

    async def test_everything_is_counted_where_it_happens(self, repository: Storage, lease: Lease) -> None:
        jobs = [await repository.add(new_job(max_attempts=2), max_queued=PLENTY) for _ in range(8)]
        for job, conclusion in zip(jobs, Conclusion, strict=False):
            job = await bring(repository, lease, job, State.STARTING)
            start = {"start_time": NOON, "start_way": StartWay.COLD}
            job = await repository.update(job, lease, state=State.RUNNING, **start)
            end = {"end_time": NOON + timedelta(milliseconds=500), "conclusion": conclusion}
            await repository.update(job, lease, state=State.COMPLETED, **end)
        await self._run_twice(repository, lease, jobs[5].id)
        await bring(repository, lease, jobs[6], State.STARTING)
        metrics = await repository.metrics()
        assert asdict(metrics) == {
            "submitted": 8,
            **dict.fromkeys(Conclusion, 1),
            "retried": 1,
            "warm": 1,
            "cold": 5,
            "pull": 1,
            "ran": 5,
            "ran_micros": 2_500_000,
            "queued": 1,
            "starting": 1,
            "running": 1,
            "removals": 0,
            "leads": True,
            "term": 1,
        }

    async def _run_twice(self, repository: Storage, lease: Lease, job_id: str) -> None:
        job = await bring(repository, lease, await repository.get(job_id), State.STARTING)
        warm = {"start_way": StartWay.WARM}
        job = await repository.update(job, lease, state=State.RUNNING, start_time=NOON, **warm)
        ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON)
        requeued: dict[str, Any] = {"start_time": None, "runtime": None, "start_way": None, "attempt": 2}
        job = await repository.update(job, lease, state=State.QUEUED, **requeued, earlier_attempts=(ended,))
        job = await bring(repository, lease, job, State.STARTING)
        await repository.update(job, lease, state=State.RUNNING, start_time=NOON, start_way=StartWay.PULL)

    async def test_the_stages_of_paths_are_counted_as_jobs_complete(self, repository: Storage, lease: Lease) -> None:
        for took in (1_000, 1_001, 10**12):
            job = await repository.add(new_job(arrival={"accepted": 10, "persisting": 20}), max_queued=PLENTY)
            job = await bring(repository, lease, job, State.RUNNING)
            trace = {"seen": 30, "starting": 40, "gate_opened": 40 + took, "exit_seen": 10**13, "first_output": 10**13}
            job = await repository.update(job, lease, error="not the end yet", trace=trace)
            await repository.update(job, lease, **END)
        times = {one.stage: one for one in await repository.stage_times()}
        assert set(times) == {"receive", "queue", "start", "first_output"} < set(STAGES), "`completing` is missing"
        assert (times["start"].way, times["start"].micros) == ("", 1_000 + 1_001 + 10**12)
        assert times["start"].counts == (1, 1, *[0] * (len(STAGE_BOUNDS) - 2), 1)
        assert times["queue"].micros == 3 * 20

    async def test_what_follows_the_end_is_counted_when_it_is_told(self, repository: Storage, lease: Lease) -> None:
        job = await bring(repository, lease, await repository.add(new_job(), max_queued=PLENTY), State.RUNNING)
        ended = {"exit_seen": 1000, "completing": 2000}
        job = await repository.update(job, lease, **END, trace=ended)
        job = await repository.update(job, lease, trace=ended | {"completed": 3000, "cleared": 9000})
        await repository.update(job, lease)
        stages = [(one.stage, one.micros, sum(one.counts)) for one in await repository.stage_times()]
        assert stages == [("clear", 7000, 1), ("end", 1000, 1)]

    async def test_further_attempts_count_from_their_own_beginning(self, repository: Storage, lease: Lease) -> None:
        new = new_job(arrival={"accepted": 1, "persisting": 2}, max_attempts=2)
        job = await bring(repository, lease, await repository.add(new, max_queued=PLENTY), State.STARTING)
        ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON)
        requeued: dict[str, Any] = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (ended,)}
        job = await repository.update(job, lease, **requeued, start_time=None, runtime=None)
        job = await bring(repository, lease, job, State.RUNNING)
        trace = {"seen": 5000, "starting": 8000, "exit_seen": 9000, "first_output": 9000, "completing": 9500}
        await repository.update(job, lease, **END, trace=trace)
        assert [(one.stage, one.micros) for one in await repository.stage_times()] == [("end", 500), ("queue", 3000)]

    async def test_what_is_deleted_stays_counted(self, repository: Storage, lease: Lease) -> None:
        jobs = [await repository.add(new_job(), max_queued=PLENTY) for _ in range(3)]
        for job in jobs:
            await bring(repository, lease, job, State.COMPLETED)
        before = await repository.metrics()
        await repository.delete([job.id for job in jobs])
        after = await repository.metrics()
        assert (after.submitted, after.succeeded, after.ran) == (3, 3, 3) == (before.submitted, before.succeeded, 3)
        assert after.removals == 3

    async def test_who_has_stopped_leading_does_not_lead(self, repository: Storage, lease: Lease) -> None:
        assert (await repository.metrics()).leads
        await repository.release(lease)
        metrics = await repository.metrics()
        assert (metrics.leads, metrics.term) == (False, 1)
