"""Environments of a runtime that the test plays; files and database are real."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from ci_common.attempts.parts import JobEnvironment
from ci_common.environments import Comparison, PlannedSetup
from ci_common.jobs import Conclusion, Job, Reason, State, new_job_id
from ci_common.run_directory.inputs import digest_of
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.trees import delete_tree
from ci_controller.environments import Environments
from ci_controller.job_writer import JobWriter
from ci_controller.runtime.protocol import LocalRuntime, PreparedEnvironment, WorkloadKey
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.helpers.installation import leading
from tests.helpers.jobs import NOON, PLENTY, new_job
from tests.helpers.scripts import plan_of, shell_steps

STEPS = """{"step":0,"event":"start","uptime":"1.00","offset":"0"}
{"step":0,"event":"end","code":%d,"uptime":"3.00","offset":"0"}
"""


@dataclass
class PlayedMaker:
    """The half of a runtime that environments use."""

    basis: str | None = "basis"
    made: list[tuple[str, list[str]]] = field(default_factory=list)
    """The key of each environment that was made, and the files that its setup saw."""
    there: set[str] = field(default_factory=set)
    fault: Exception | None = None
    different: int = 0
    """How many files differ if the setup runs once more."""
    name: str = "docker"
    isolated = True

    async def basis_of(self, plan: ExecutionPlan) -> str | None:
        return self.basis

    async def make_environment(
        self, key: str, plan: ExecutionPlan, directory: Path, downloads: Path
    ) -> PreparedEnvironment:
        workspace = directory / "workspace"
        files = [path.relative_to(workspace).as_posix() for path in workspace.rglob("*") if path.is_file()]
        self.made.append((key, sorted(files)))
        if self.fault is not None:
            raise self.fault
        reference = f"sha256:{len(self.made)}"
        self.there.add(reference)
        return PreparedEnvironment(reference, 1000, 2.0)

    async def compare_environment(self, reference: str, key: WorkloadKey, run: RunDirectory) -> Comparison:
        if self.fault is not None:
            raise self.fault
        return Comparison(files=7, different=self.different, first=[], ignored={})

    async def has_environment(self, reference: str, plan: ExecutionPlan) -> bool:
        return reference in self.there

    async def list_environments(self) -> set[str]:
        return self.there

    async def remove_environment(self, reference: str) -> None:
        self.there.discard(reference)

    async def delete_tree(self, path: Path) -> None:
        delete_tree(path)


class Bench:
    """Environments with all that they need; now is noon."""

    def __init__(self, path: Path, storage: Storage, lease: Lease) -> None:
        self.path = path
        self.settings = Settings.from_env({"CI_DB_PATH": str(path / "ci.db")})
        self.data = DataDirectory(self.settings.data_path)
        self.data.create()
        self.storage = storage
        self.lease = lease
        self.maker = PlayedMaker()
        self.now = NOON
        self.up = 1000.0
        self.writer = JobWriter(storage, lease, lambda: self.now, lambda: self.up)
        self.changes = 0
        self.environments = self.another()

    def another(self, **settings: Any) -> Environments:
        """Return those of the next controller."""
        return Environments(
            self.settings.model_copy(update=settings),
            runtime=cast(LocalRuntime, self.maker),
            data=self.data,
            writer=self.writer,
            pool=None,
            on_change=self._note_change,
        )

    def _note_change(self) -> None:
        self.changes += 1

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.up += seconds

    def plan(self, setup: str = "install", **fields: Any) -> ExecutionPlan:
        """Return the plan of a project with the input deps.txt."""
        source = self.path / "project"
        source.mkdir(exist_ok=True)
        if not (source / "deps.txt").exists():
            (source / "deps.txt").write_text("one")
        planned = PlannedSetup(steps=1, inputs=("deps.txt",), digest=digest_of(source, ["deps.txt"]), **fields)
        return plan_of(*shell_steps(setup, "test")).model_copy(update={"setup": planned})

    async def started(self, plan: ExecutionPlan, environments: Environments | None = None, **job: Any) -> Job:
        """Return a job that has been given its environment, and whose workspace is in place."""
        environments = environments or self.environments
        fields = {"plan": plan.model_dump(mode="json"), "image": plan.image, **job}
        stored = await self.storage.jobs.add(new_job(id=new_job_id(), **fields), max_queued=PLENTY)
        environment = await environments.choose(stored, plan)
        assert not isinstance(environment, Reason)
        stored = await self.storage.jobs.update(
            stored, self.lease, state=State.STARTING, environment=environment, runtime="docker", reason=None
        )
        workspace = self.data.run_of(stored).workspace
        workspace.mkdir(parents=True)
        (workspace / "deps.txt").write_text((self.path / "project" / "deps.txt").read_text())
        (workspace / "other.txt").write_text("other")
        await environments.note_use(stored, plan)
        return stored

    async def run(self, job: Job, *, code: int = 0) -> Job:
        """Let the setup of a job end with this exit code, while the job runs."""
        running = await self.storage.jobs.update(job, self.lease, state=State.RUNNING, start_time=self.now)
        (self.data.run_of(job).started).write_text("1.00")
        (self.data.run_of(job).steps).write_text(STEPS % code)
        return running

    async def end(self, job: Job, conclusion: Conclusion = Conclusion.SUCCEEDED) -> None:
        await self.storage.jobs.update(
            job, self.lease, state=State.COMPLETED, conclusion=conclusion, end_time=self.now, log_bytes=0
        )

    async def prepared(self, plan: ExecutionPlan) -> JobEnvironment:
        """Have an environment made as after a job, and return what the job was given."""
        job = await self.started(plan)
        await self.run(job)
        await self.turn()
        assert job.environment is not None
        return job.environment

    async def turn(self, environments: Environments | None = None) -> None:
        """Let every environment that is due be made."""
        builds = (environments or self.environments).builds
        for build in list(builds._builds.values()):
            await builds._advance(build)

    async def choice(self, plan: ExecutionPlan, **job: Any) -> JobEnvironment | Reason | None:
        """Return what a job would be given."""
        found = new_job(plan=plan.model_dump(mode="json"), **job)
        return await self.environments.choose(Job(**{name: getattr(found, name) for name in _NAMES}), plan)

    def directories(self) -> list[str]:
        return sorted(path.name for path in self.data.environments.iterdir()) if self.data.environments.exists() else []


_NAMES = ("id", "type", "submit_time", "plan", "owner", "project")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with leading(tmp_path) as (storage, lease):
        yield Bench(tmp_path, storage, lease)
