"""How removals are worked off: many at once, and nothing where there is nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_common.artifacts.directory import DirectoryStore
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.trees import delete_tree
from ci_common.times import uptime
from ci_controller.execution.protocol import Scope
from ci_controller.gc.collectors import DeletedJobs
from ci_controller.gc.runner import GarbageCollector
from ci_controller.runtime.protocol import WorkloadKey
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from ci_persistence.stores.retention import Removal
from tests.helpers.installation import leading
from tests.helpers.jobs import NOON, PLENTY, new_job
from tests.helpers.waiting import eventually


class Counting:
    """The parts of a `Runtime` and of an `Execution` that removals need; it counts what it is asked for."""

    name = runtime_name = "process"
    isolated = False

    def __init__(self) -> None:
        self.workloads: set[WorkloadKey] = set()
        self.asked: Counter[str] = Counter()

    async def clean_up(self, job: Job, scope: Scope = Scope.ALL) -> None:
        assert scope is Scope.WORKLOAD
        self.asked["clean_up"] += 1
        self.workloads.remove(WorkloadKey(job.id, job.attempt))

    async def delete_tree(self, path: Path) -> None:
        self.asked["delete_tree"] += 1
        assert not any(key.job_id == path.name for key in self.workloads), "its workloads go first"
        delete_tree(path)

    async def list(self) -> Collection[WorkloadKey]:
        self.asked["list"] += 1
        return tuple(self.workloads)


class Bench:
    def __init__(self, path: Path, storage: Storage, lease: Lease) -> None:
        self.data = DataDirectory(path)
        self.data.create()
        self.storage = storage
        self.lease = lease
        self.runtime: Any = Counting()
        self.supervised: set[str] = set()
        self.asked_about: set[str] = set()

    async def completed(self) -> Job:
        job = await self.storage.jobs.add(new_job(), max_queued=PLENTY)
        job = await self.storage.jobs.update(job, self.lease, state=State.STARTING, runtime="process")
        ended = {"conclusion": Conclusion.SUCCEEDED, "end_time": NOON}
        self.data.run(job.id, 1).path.mkdir(parents=True)
        return await self.storage.jobs.update(job, self.lease, state=State.COMPLETED, **ended)

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[tuple[GarbageCollector, DeletedJobs]]:
        def is_supervised(job_id: str) -> bool:
            self.asked_about.add(job_id)
            return job_id in self.supervised

        collector = DeletedJobs(
            data=self.data,
            contents=DirectoryStore(self.data.artifacts),
            reports=self.storage.reports,
            retention=self.storage.retention,
            lease=self.lease,
            runtimes={"process": self.runtime},
            executions={"process": self.runtime},
            is_supervised=is_supervised,
        )
        runner = GarbageCollector([collector], uptime)
        task = asyncio.create_task(runner.run())
        yield runner, collector
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def nothing_pending(self) -> bool:
        return await self.storage.retention.count_removals() == 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with leading(tmp_path) as (storage, lease):
        yield Bench(tmp_path / "data", storage, lease)


async def test_the_engine_is_asked_once_for_many(bench: Bench) -> None:
    jobs = await asyncio.gather(*(bench.completed() for _ in range(250)))
    bench.runtime.workloads = {WorkloadKey(jobs[7].id, 1), WorkloadKey(jobs[7].id, 2), WorkloadKey("another", 1)}
    await bench.storage.retention.delete(job.id for job in jobs)
    async with bench.collecting():
        await eventually(bench.nothing_pending)
    assert bench.runtime.asked == {"list": 3, "clean_up": 2, "delete_tree": 250}
    assert bench.runtime.workloads == {WorkloadKey("another", 1)}
    assert list(bench.data.jobs.iterdir()) == []


async def test_no_runtime_is_asked_where_nothing_was_deleted(bench: Bench) -> None:
    await bench.completed()
    looks = []
    removals = bench.storage.retention.removals

    async def counted(**given: Any) -> list[Removal]:
        looks.append(given)
        return await removals(**given)

    bench.storage.retention.removals = counted  # type: ignore[method-assign]
    async with bench.collecting() as (runner, collector):
        for number in range(1, 4):
            await eventually(lambda number=number: len(looks) == number)
            runner.wake(collector)
    assert bench.runtime.asked == {}


async def test_a_supervisor_finishes_first(bench: Bench) -> None:
    job, other = await bench.completed(), await bench.completed()
    bench.supervised = {job.id}
    await bench.storage.retention.delete([job.id, other.id])
    async with bench.collecting() as (runner, collector):
        await eventually(lambda: bench.runtime.asked["delete_tree"] == 1)
        assert bench.data.job(job.id).exists()
        bench.supervised = set()
        assert collector.awaits_supervisor
        runner.wake(collector)
        await eventually(bench.nothing_pending)
    assert not bench.data.job(job.id).exists()
