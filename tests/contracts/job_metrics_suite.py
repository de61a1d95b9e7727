"""What every implementation of `MetricsStore` promises."""

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Attempt, Conclusion, Job, State
from ci_common.times import STAGES
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.metrics import STAGE_BOUNDS
from tests.contracts.storage_place import Base
from tests.helpers.jobs import NOON, PLENTY, bring, new_job

END = {"state": State.COMPLETED, "conclusion": Conclusion.SUCCEEDED, "end_time": NOON + timedelta(seconds=2)}


class MetricsSuite(Base):
    async def test_nothing_has_happened(self, storage: Storage) -> None:
        metrics = asdict(await storage.metrics.metrics())
        assert {name for name, value in metrics.items() if value} == set()

    async def test_everything_is_counted_where_it_happens(self, storage: Storage, lease: Lease) -> None:
        jobs = [await storage.jobs.add(new_job(max_attempts=2), max_queued=PLENTY) for _ in range(8)]
        for job, conclusion in zip(jobs, Conclusion, strict=False):
            job = await bring(storage, lease, job, State.STARTING)
            start = {"start_time": NOON, "start_way": StartWay.COLD}
            job = await storage.jobs.update(job, lease, state=State.RUNNING, **start)
            end = {"end_time": NOON + timedelta(milliseconds=500), "conclusion": conclusion}
            await storage.jobs.update(job, lease, state=State.COMPLETED, **end)
        await self._run_twice(storage, lease, jobs[5].id)
        await bring(storage, lease, jobs[6], State.STARTING)
        metrics = await storage.metrics.metrics()
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

    async def _run_twice(self, storage: Storage, lease: Lease, job_id: str) -> None:
        job = await bring(storage, lease, await storage.jobs.get(job_id), State.STARTING)
        warm = {"start_way": StartWay.WARM}
        job = await storage.jobs.update(job, lease, state=State.RUNNING, start_time=NOON, **warm)
        ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON)
        requeued: dict[str, Any] = {"start_time": None, "runtime": None, "start_way": None, "attempt": 2}
        job = await storage.jobs.update(job, lease, state=State.QUEUED, **requeued, earlier_attempts=(ended,))
        job = await bring(storage, lease, job, State.STARTING)
        await storage.jobs.update(job, lease, state=State.RUNNING, start_time=NOON, start_way=StartWay.PULL)

    async def test_the_stages_of_paths_are_counted_as_jobs_complete(self, storage: Storage, lease: Lease) -> None:
        for took in (1_000, 1_001, 10**12):
            job = await storage.jobs.add(new_job(arrival={"accepted": 10, "persisting": 20}), max_queued=PLENTY)
            job = await bring(storage, lease, job, State.RUNNING)
            trace = {"seen": 30, "starting": 40, "gate_opened": 40 + took, "exit_seen": 10**13, "first_output": 10**13}
            job = await storage.jobs.update(job, lease, error="not the end yet", trace=trace)
            await storage.jobs.update(job, lease, **END)
        times = {one.stage: one for one in await storage.metrics.stage_times()}
        assert set(times) == {"receive", "queue", "start", "first_output"} < set(STAGES), "`completing` is missing"
        assert (times["start"].way, times["start"].micros) == ("", 1_000 + 1_001 + 10**12)
        assert times["start"].counts == (1, 1, *[0] * (len(STAGE_BOUNDS) - 2), 1)
        assert times["queue"].micros == 3 * 20

    async def test_those_that_come_at_once_are_counted_each(self, storage: Storage, lease: Lease) -> None:
        first = await storage.jobs.add(new_job(), max_queued=PLENTY)
        adding = [storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(20)]
        adding.insert(10, storage.jobs.add(new_job(id=first.id), max_queued=PLENTY))
        added = [job for job in await asyncio.gather(*adding, return_exceptions=True) if isinstance(job, Job)]
        assert len(added) == 20
        running = await asyncio.gather(*(bring(storage, lease, job, State.RUNNING) for job in added))
        trace = {"exit_seen": 2**50, "completing": 2**50 + 1_500}
        ending = [storage.jobs.update(job, lease, **END, trace=trace) for job in running]
        ending.insert(10, storage.jobs.update(added[0], lease, error="stale"))
        ended = [job for job in await asyncio.gather(*ending, return_exceptions=True) if isinstance(job, Job)]
        assert len(ended) == 20
        metrics = await storage.metrics.metrics()
        assert (metrics.submitted, metrics.succeeded, metrics.ran) == (21, 20, 20)
        (stage,) = [times for times in await storage.metrics.stage_times() if times.stage == "end"]
        assert (sum(stage.counts), stage.micros) == (20, 20 * 1_500)

    async def test_what_follows_the_end_is_counted_when_it_is_told(self, storage: Storage, lease: Lease) -> None:
        job = await bring(storage, lease, await storage.jobs.add(new_job(), max_queued=PLENTY), State.RUNNING)
        ended = {"exit_seen": 1000, "completing": 2000}
        job = await storage.jobs.update(job, lease, **END, trace=ended)
        job = await storage.jobs.update(job, lease, trace=ended | {"completed": 3000, "cleared": 9000})
        await storage.jobs.update(job, lease)
        stages = [(one.stage, one.micros, sum(one.counts)) for one in await storage.metrics.stage_times()]
        assert stages == [("clear", 7000, 1), ("end", 1000, 1)]

    async def test_further_attempts_count_from_their_own_beginning(self, storage: Storage, lease: Lease) -> None:
        new = new_job(arrival={"accepted": 1, "persisting": 2}, max_attempts=2)
        job = await bring(storage, lease, await storage.jobs.add(new, max_queued=PLENTY), State.STARTING)
        ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=NOON)
        requeued: dict[str, Any] = {"state": State.QUEUED, "attempt": 2, "earlier_attempts": (ended,)}
        job = await storage.jobs.update(job, lease, **requeued, start_time=None, runtime=None)
        job = await bring(storage, lease, job, State.RUNNING)
        trace = {"seen": 5000, "starting": 8000, "exit_seen": 9000, "first_output": 9000, "completing": 9500}
        await storage.jobs.update(job, lease, **END, trace=trace)
        assert [(one.stage, one.micros) for one in await storage.metrics.stage_times()] == [
            ("end", 500),
            ("queue", 3000),
        ]

    async def test_what_is_deleted_stays_counted(self, storage: Storage, lease: Lease) -> None:
        jobs = [await storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(3)]
        for job in jobs:
            await bring(storage, lease, job, State.COMPLETED)
        before = await storage.metrics.metrics()
        await storage.retention.delete([job.id for job in jobs])
        after = await storage.metrics.metrics()
        assert (after.submitted, after.succeeded, after.ran) == (3, 3, 3) == (before.submitted, before.succeeded, 3)
        assert after.removals == 3

    async def test_who_has_stopped_leading_does_not_lead(self, storage: Storage, lease: Lease) -> None:
        assert (await storage.metrics.metrics()).leads
        await storage.leases.release(lease)
        metrics = await storage.metrics.metrics()
        assert (metrics.leads, metrics.term) == (False, 1)
