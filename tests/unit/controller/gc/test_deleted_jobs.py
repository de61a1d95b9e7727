"""How removals are worked off: many at once, and nothing where there is nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_common.jobs import Conclusion, Job, StartWay, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.trees import delete_tree
from ci_common.times import uptime
from ci_controller.gc.deleted_jobs import DeletedJobs
from ci_controller.gc.runner import GarbageCollector
from ci_controller.runtime.protocol import WAITING, Sighting, WorkloadKey
from ci_persistence.repository import Lease
from ci_persistence.retention import Removal
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.jobs import NOON, PLENTY, new_job
from tests.helpers.leading import leading
from tests.helpers.waiting import eventually


class CountingRuntime:
    """The part of a `Runtime` that removals need; it counts what it is asked for."""

    name = "process"
    isolated = False

    def __init__(self) -> None:
        self.workloads: set[WorkloadKey] = set()
        self.asked: Counter[str] = Counter()

    async def list_workloads(self) -> list[Sighting]:
        self.asked["list"] += 1
        return [Sighting(key, NOON) for key in self.workloads]

    async def remove(self, key: WorkloadKey) -> None:
        self.asked["remove"] += 1
        self.workloads.remove(key)

    async def reclaim(self, path: Path) -> None:
        self.asked["reclaim"] += 1
        assert not any(key.job_id == path.name for key in self.workloads), "its workloads go first"
        delete_tree(path)


class Bench:
    def __init__(self, path: Path, repository: SQLiteJobRepository, lease: Lease) -> None:
        self.data = DataDirectory(path)
        self.data.create()
        self.repository = repository
        self.lease = lease
        self.runtime: Any = CountingRuntime()
        self.supervised: set[str] = set()
        self.asked_about: set[str] = set()

    async def completed(self) -> Job:
        job = await self.repository.add(new_job(), max_queued=PLENTY)
        job = await self.repository.update(job, self.lease, state=State.STARTING, runtime="process")
        ended = {"conclusion": Conclusion.SUCCEEDED, "end_time": NOON}
        self.data.run(job.id, 1).path.mkdir(parents=True)
        return await self.repository.update(job, self.lease, state=State.COMPLETED, **ended)

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[tuple[GarbageCollector, DeletedJobs]]:
        def is_supervised(job_id: str) -> bool:
            self.asked_about.add(job_id)
            return job_id in self.supervised

        collector = DeletedJobs(
            data=self.data,
            retention=self.repository,
            lease=self.lease,
            runtimes={"process": self.runtime},
            is_supervised=is_supervised,
            holders=self.repository.get_holders,
        )
        runner = GarbageCollector([collector], uptime)
        task = asyncio.create_task(runner.run())
        yield runner, collector
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def nothing_pending(self) -> bool:
        return await self.repository.count_removals() == 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with leading(tmp_path) as (repository, lease):
        yield Bench(tmp_path / "data", repository, lease)


async def test_the_engine_is_asked_once_for_many(bench: Bench) -> None:
    jobs = await asyncio.gather(*(bench.completed() for _ in range(250)))
    bench.runtime.workloads = {WorkloadKey(jobs[7].id, 1), WorkloadKey(jobs[7].id, 2), WorkloadKey("another", 1)}
    await bench.repository.delete(job.id for job in jobs)
    async with bench.collecting():
        await eventually(bench.nothing_pending)
    assert bench.runtime.asked == {"list": 3, "remove": 2, "reclaim": 250}
    assert bench.runtime.workloads == {WorkloadKey("another", 1)}
    assert list(bench.data.jobs.iterdir()) == []


async def test_a_container_that_had_waited_goes_before_the_files_of_the_deleted_job_that_took_it(bench: Bench) -> None:
    """No row names it any more, and its own name is not the job's; others that wait, or are held, stay."""
    job = await bench.completed()
    held = await bench.repository.add(new_job(), max_queued=PLENTY)
    taken: dict[str, Any] = {"start_way": StartWay.WARM, "workload": "held", "runtime": "process"}
    await bench.repository.update(held, bench.lease, state=State.STARTING, **taken)
    bench.data.waiting_run("waits").path.mkdir(parents=True)
    bench.runtime.workloads = {WorkloadKey(name, WAITING) for name in ("taken", "held", "waits")}
    reclaim, left = bench.runtime.reclaim, []

    async def reclaimed(path: Path) -> None:
        left.append({key.job_id for key in bench.runtime.workloads})
        await reclaim(path)

    bench.runtime.reclaim = reclaimed
    await bench.repository.delete([job.id])
    async with bench.collecting():
        await eventually(bench.nothing_pending)
    assert left == [{"held", "waits"}]


async def test_no_runtime_is_asked_where_nothing_was_deleted(bench: Bench) -> None:
    await bench.completed()
    looks = []
    removals = bench.repository.removals

    async def counted(**given: Any) -> list[Removal]:
        looks.append(given)
        return await removals(**given)

    bench.repository.removals = counted  # type: ignore[method-assign]
    async with bench.collecting() as (runner, collector):
        for number in range(1, 4):
            await eventually(lambda number=number: len(looks) == number)
            runner.wake(collector)
    assert bench.runtime.asked == {}


async def test_a_supervisor_finishes_first(bench: Bench) -> None:
    job, other = await bench.completed(), await bench.completed()
    bench.supervised = {job.id}
    await bench.repository.delete([job.id, other.id])
    async with bench.collecting() as (runner, collector):
        await eventually(lambda: bench.runtime.asked["reclaim"] == 1)
        assert bench.data.job(job.id).exists()
        bench.supervised = set()
        assert collector.awaits_supervisor
        runner.wake(collector)
        await eventually(bench.nothing_pending)
    assert not bench.data.job(job.id).exists()
