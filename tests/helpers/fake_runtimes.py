"""Runtimes that run nothing, and a pool on one of them."""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from ci_common.errors import LeadershipLost
from ci_common.jobs import new_job_id
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.trees import delete_tree
from ci_common.system.watch import FileWatcher
from ci_controller.job_writer import JobWriter
from ci_controller.policy import WorkloadPhase
from ci_controller.pool import Pool
from ci_controller.runtime.guarding import guarded
from ci_controller.runtime.protocol import (
    EngineStatus,
    ListedWorkload,
    LocalRuntime,
    Progress,
    Surroundings,
    WorkloadKey,
    WorkloadSpec,
)
from tests.helpers.scripts import plan_of, shell_steps
from tests.helpers.waiting import eventually


class ScriptedImages:
    """An `ImageStore` whose pulls go on until the test ends them."""

    name = "scripted"

    def __init__(self, *present: str) -> None:
        self.present = set(present)
        self.questions = 0
        self.pulls: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self._pulling: dict[str, tuple[asyncio.Future[None], Progress]] = {}
        self._begun = asyncio.Condition()

    async def has_image(self, image: str) -> bool:
        self.questions += 1
        return image in self.present

    async def pull(self, image: str, progress: Progress) -> None:
        outcome = asyncio.get_running_loop().create_future()
        self.pulls[image] += 1
        async with self._begun:
            self._pulling[image] = outcome, progress
            self._begun.notify_all()
        try:
            await outcome
            self.present.add(image)
        finally:
            self.ended[image] += 1
            del self._pulling[image]

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> None:
        """Nothing can wait here."""

    async def pulling(self, image: str) -> None:
        """Return once a pull of `image` is under way."""
        async with self._begun:
            await self._begun.wait_for(lambda: image in self._pulling)

    def say(self, image: str, line: str) -> None:
        """Report progress of a pull."""
        self._pulling[image][1](line)

    def finish(self, image: str, fault: Exception | None = None) -> None:
        """End a pull, well or with `fault`."""
        outcome = self._pulling[image][0]
        if fault is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(fault)


# A runtime whose workloads come to their gates and wait there, and do nothing else. The test is the engine.


@dataclass
class WaitingRuntime:
    """The half of a `Runtime` that a pool uses."""

    profiles: dict[str, str | None] = field(default_factory=dict)
    """The profile by image; by default the image's name."""
    specs: dict[WorkloadKey, WorkloadSpec] = field(default_factory=dict)
    """What exists."""
    created: list[WorkloadKey] = field(default_factory=list)
    tried: int = 0
    fault: Exception | None = None
    """What the engine answers instead of creating."""
    readers: dict[WorkloadKey, int] = field(default_factory=dict)
    name = "docker"
    isolated = True
    has_console = True
    can_wait = True

    def describe(self, plan: ExecutionPlan, run: RunDirectory) -> Surroundings:
        return Surroundings(Path("/ci"), {})

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> str | None:
        return self.profiles.get(plan.image, plan.image)

    async def create(self, spec: WorkloadSpec) -> None:
        self.tried += 1
        if self.fault is not None:
            raise self.fault
        self.created.append(spec.key)
        self.specs[spec.key] = spec

    async def start(self, key: WorkloadKey) -> None:
        run = self.specs[key].run
        self.readers[key] = os.open(run.gate, os.O_RDONLY | os.O_NONBLOCK)
        run.waiting.touch()

    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        self.die(key)

    def die(self, key: WorkloadKey) -> None:
        """End a workload from outside."""
        if key in self.readers:
            os.close(self.readers.pop(key))

    async def look(self, key: WorkloadKey) -> EngineStatus:
        if key not in self.specs:
            return EngineStatus(WorkloadPhase.ABSENT)
        return EngineStatus(WorkloadPhase.RUNNING) if key in self.readers else EngineStatus(WorkloadPhase.EXITED, 143)

    async def remove(self, key: WorkloadKey, *, only_exited: bool = False) -> None:
        self.die(key)
        self.specs.pop(key, None)

    async def delete_tree(self, path: Path) -> None:
        delete_tree(path)

    async def failed_service(self, key: WorkloadKey) -> str | None:
        return None

    async def list_workloads(self) -> list[ListedWorkload]:
        return [ListedWorkload(key, datetime.now(UTC), spec.profile) for key, spec in self.specs.items()]

    def run_of(self, key: WorkloadKey) -> RunDirectory:
        return self.specs[key].run

    def close(self) -> None:
        for key in list(self.readers):
            self.die(key)


# A pool with all that it needs. The engine is played; files and database are real.

PLAN = plan_of(*shell_steps("true")).model_copy(update={"image": "one"})
OTHER = PLAN.model_copy(update={"image": "other"})


class Place:
    """A pool of three, two of a profile, with all that it needs."""

    def __init__(self, tmp_path: Path, writer: JobWriter, watcher: FileWatcher) -> None:
        self.settings = Settings.from_env(
            {
                "CI_DB_PATH": str(tmp_path / "ci.db"),
                "CI_POOL_SIZE": "3",
                "CI_POOL_PER_KEY": "2",
                "CI_MIN_FREE_BYTES": "0",
            }
        )
        self.data = DataDirectory(self.settings.data_path)
        self.data.create()
        self.runtime = WaitingRuntime()
        self.writer = writer
        self.watcher = watcher
        self.memory = 100.0
        self.leads = True
        self.pool = self.another()

    def another(self) -> Pool:
        """Return a pool as the next controller has one."""
        return Pool(
            self.settings,
            runtime=guarded(cast(LocalRuntime, self.runtime), self.check),
            data=self.data,
            writer=self.writer,
            watcher=self.watcher,
            check=self.check,
            memory_percent=lambda: self.memory,
        )

    def check(self) -> None:
        if not self.leads:
            raise LeadershipLost("another controller leads")

    async def adopt(self, pool: Pool) -> list[WorkloadKey]:
        return await pool.adopt(await self.runtime.list_workloads())

    def holder(self, workload: str) -> tuple[str, int] | None:
        """Return the attempt that has claimed the workload, by its ticket."""
        return next((each.holder for each in tickets.read(self.data.pool) if each.workload == workload), None)

    async def waiting(self, number: int, image: str = "one") -> None:
        """Return once so many of this profile wait, as the pool publishes it."""

        async def told() -> bool:
            state = await self.writer.storage.pool.get()
            return sum(kind.waiting for kind in state.kinds if kind.image in (image, None)) == number

        await eventually(told, f"{number} of {image} wait")

    def left_in_pool(self) -> set[str]:
        return {path.name for path in self.data.pool.iterdir()}


async def take(pool: Pool, plan: ExecutionPlan, key: WorkloadKey | None = None) -> str | None:
    """Do as an attempt that starts; return what it gets."""
    workload = await pool.claim(key or WorkloadKey(new_job_id(), 1), plan)
    return None if workload is None else workload.job_id


def make_busy_for_a_moment(pool: Pool) -> None:
    """An attempt waits for the engine, and then has started."""
    key = WorkloadKey(new_job_id(), 1)
    pool.note_starting(key)
    pool.note_started(key)


async def used(place: Place, *plans: ExecutionPlan) -> None:
    for plan in plans:
        await take(place.pool, plan)
    make_busy_for_a_moment(place.pool)
