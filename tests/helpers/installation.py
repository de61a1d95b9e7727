"""One installation on temporary paths: jobs submitted as the API does, controllers run on it."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ci_common.jobs import Job, NewJob, State, new_job_id
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, PlannedStep, Retry
from ci_common.system.processes import ProcessIdentity, this_process
from ci_common.times import utc_now
from ci_controller.main import Parts, assembled, control
from ci_controller.run_directory.preparation import prepare_gate
from ci_controller.runtime.process.record import ProcessRecord
from ci_controller.runtime.protocol import WAITING, LocalRuntime, WorkloadKey, WorkloadSpec
from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.open import open_storage, sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.leases import Lease
from tests.contracts.runtime_suite.trial import Trial
from tests.helpers.databases import Databases, Files
from tests.helpers.waiting import PATIENCE, eventually

CRASHING_CONTROLLER = Path(__file__).parent.parent / "scenarios" / "crashing_controller.py"
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Installation:
    """A database and a data directory, and the environment that names them."""

    directory: Path
    runtime: str
    image: str
    environment: Mapping[str, str]
    databases: Databases

    def another(self, name: str) -> Self:
        """Return one like this with nothing in it, in a directory of that name below this one's."""
        directory = self.directory / name
        directory.mkdir()
        return replace(
            self, directory=directory, environment={**self.environment, **self.databases.settings(directory)}
        )

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environment)

    @property
    def data(self) -> DataDirectory:
        return DataDirectory(self.settings.data_path)

    @asynccontextmanager
    async def storage(self) -> AsyncIterator[Storage]:
        """Yield a connected storage of this installation."""
        async with open_storage(self.settings.database) as storage:
            yield storage

    async def execute(self, *statements: str, **values: Any) -> None:
        """Change rows in a way that the product never does."""

        async def operation(session: Session) -> None:
            for statement in statements:
                await session.execute(Statement(statement), values)

        async with self.storage() as storage:
            await storage.database.write(operation)

    def shell_job(
        self,
        *shell: str,
        timeout: float = 60.0,
        image: str | None = None,
        plan: Mapping[str, object] | None = None,
        retry: Retry | None = None,
        **more: Any,
    ) -> NewJob:
        """Return a container job that runs the given shell texts, one per step. `plan` has other fields of its plan."""
        image = image or self.image
        steps = tuple(PlannedStep(name=f"step {n}", shell=text) for n, text in enumerate(shell))
        retry = retry or Retry()
        fields = {"image": image, "steps": steps, "timeout": timeout, "retry": retry, **(plan or {})}
        return NewJob(
            id=new_job_id(),
            type="container",
            submit_time=utc_now(),
            plan=ExecutionPlan.model_validate(fields).model_dump(mode="json"),
            image=image,
            max_attempts=retry.max_attempts,
            **more,
        )

    async def submit(self, *shell: str, files: Mapping[str, str] | None = None, **more: Any) -> Job:
        """Store a container job, with `files` as its project, as the API would."""
        self.data.create()
        job = self.shell_job(*shell, has_upload=files is not None, **more)
        for name, content in (files or {}).items():
            path = self.data.run(job.id, 1).workspace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        async with self.storage() as storage:
            return await storage.jobs.add(job, max_queued=1000)

    @asynccontextmanager
    async def controller(self, **parts: Any) -> AsyncIterator[Parts]:
        """Run a controller in this process, with some other `parts` than usual.

        Leaving the context leaves the jobs alone, as a process's end does.
        """
        async with assembled(self.settings) as usual:
            assembly = replace(usual, **parts)
            task = asyncio.create_task(control(assembly))
            try:
                yield assembly
                assert not task.done(), f"the controller ended by itself: {task}"
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def is_locked(self) -> bool:
        """Return whether a program that has stopped keeps the database locked until it goes on.

        A server ends the transaction of such a program within seconds.
        """
        if self.settings.database.path is None:
            return False
        with closing(sqlite3.connect(self.settings.db_path, timeout=0, isolation_level=None)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    @asynccontextmanager
    async def runtime_of_its_own(self) -> AsyncIterator[LocalRuntime]:
        """Yield this installation's runtime, to look at it without being a controller."""
        async with assembled(self.settings) as parts:
            runtime = parts.runtimes[self.runtime]
            await runtime.open()
            yield runtime

    def start_crashing_controller(self, point: str) -> subprocess.Popen[bytes]:
        """Start a controller process that kills itself at `point`; see crashing_controller.py."""
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, str(CRASHING_CONTROLLER), point], env=environment, cwd=ROOT)

    def log_of(self, job: Job) -> bytes:
        """Return the bytes of a job's log."""
        return self.data.run(job.id, job.attempt).log.read_bytes()

    def says(self, job: Job, text: bytes) -> bool:
        """Return whether the job's log contains this."""
        return self.has_log(job) and text in self.log_of(job)

    def has_log(self, job: Job) -> bool:
        """Tell whether the job has a log; one that was never prepared has none."""
        return self.data.run(job.id, job.attempt).log.exists()

    def files_left(self, job: Job) -> set[str]:
        """Return the names of what is left in a job's run directory."""
        path = self.data.run(job.id, job.attempt).path
        return {entry.name for entry in path.iterdir()} if path.exists() else set()


async def leave_waiting(installation: Installation, plan: ExecutionPlan) -> str:
    """Have a container wait for a job of this plan, as a controller that has died leaves it; return its id."""
    workload, data = new_job_id(), installation.data
    run = data.waiting_run(workload)
    async with installation.runtime_of_its_own() as runtime:
        data.pool.mkdir(mode=0o700, exist_ok=True)
        prepare_gate(run, has_console=runtime.has_console)
        key = WorkloadKey(workload, WAITING)
        await runtime.create(WorkloadSpec(key, run, plan, await runtime.profile_of(plan)))
        await runtime.start(key)
    await eventually(run.is_waiting, "a container waits")
    tickets.offer(data.pool, workload)
    return workload


def installation_of(directory: Path, runtime: str, image: str, databases: Databases | None = None) -> Installation:
    """Return an installation in `directory` whose jobs run in `runtime`, by default in `image`."""
    databases = databases or Files()
    environment = {
        **databases.settings(directory),
        "CI_RUNTIME": runtime,
        "CI_RECONCILE_INTERVAL": "0.5",
        "CI_STOP_GRACE": "5",
        "CI_CONTAINER_PREFIX": "scenario-",
        "CI_POOL_SIZE": "0",
        "DOCKER_HOST": os.environ.get("DOCKER_HOST", ""),
    }
    return Installation(directory, runtime, image, environment, databases)


async def nothing_left(runtime: LocalRuntime) -> None:
    """Return once the runtime has no workload of this installation any more."""

    async def is_empty() -> bool:
        return await runtime.list_workloads() == []

    await eventually(is_empty, "no workload is left")


async def completed(storage: Storage, job_id: str, *, within: float = PATIENCE) -> Job:
    """Return the job once it has completed."""
    return await reached(storage, job_id, State.COMPLETED, within=within)


async def script_ended(installation: Installation, storage: Storage, job: Job) -> None:
    """Return once the job's script has ended; a controller may have completed the job, and removed its record."""

    async def ended() -> bool:
        recorded = installation.data.run(job.id, job.attempt).read_exit() is not None
        return recorded or (await storage.jobs.get(job.id)).state is State.COMPLETED

    await eventually(ended, "the script has ended")


async def reached(storage: Storage, job_id: str, state: State, *, within: float = PATIENCE) -> Job:
    """Return the job once it is in `state` or beyond it."""
    order = list(State)
    async with asyncio.timeout(within):
        changes = storage.jobs.changes()
        try:
            async for _ in changes:
                job = await storage.jobs.get(job_id)
                if order.index(job.state) >= order.index(state):
                    return job
        finally:
            await changes.aclose()
    raise AssertionError("the iteration of changes has no end")


# A database of which this process leads the controllers.

_SECONDS = 3600.0
"""Longer than any test."""


@asynccontextmanager
async def leading(directory: Path) -> AsyncIterator[tuple[Storage, Lease]]:
    """Yield a connected storage on a database of its own in `directory`, and the lease."""
    storage = sqlite_storage(directory / "jobs.db")
    await storage.open()
    lease = await storage.leases.acquire(this_process(), _SECONDS)
    assert lease is not None, "no other controller leads"
    yield storage, lease
    await storage.close()


# Reading and forging the records of the process runtime.


def record_of(trial: Trial, data: DataDirectory) -> ProcessRecord:
    return ProcessRecord(data.processes / f"{trial.key.job_id}.{trial.key.attempt}")


def forge(record: ProcessRecord, name: str, identity: ProcessIdentity) -> None:
    record.create()
    (record.path / name).write_text(identity.to_json())


def identity(record: ProcessRecord, name: str) -> ProcessIdentity:
    return ProcessIdentity.from_json((record.path / name).read_text())
