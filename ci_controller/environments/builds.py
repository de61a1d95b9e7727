"""Making prepared environments, one at a time, beside the jobs and never in one.

What a job's setup makes in its own container is not kept: the job's files beside the inputs could have changed it. The
setup runs once more, apart from the job and with nothing but its inputs, once it has succeeded in a job.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ci_common.attempts.parts import StepStatus
from ci_common.errors import CiError, JobNotFound, LeadershipLost
from ci_common.jobs import Job, State, new_job_id
from ci_common.run_directory.inputs import InputsChanged, copy_inputs
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.output import live_steps
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_common.times import Uptime
from ci_persistence.stores.jobs import JobStore

log = logging.getLogger(__name__)

RECORD = "build.json"
INPUTS = "inputs"
LOOK_SECONDS = 0.2
"""How often to check whether the setup of a job has succeeded, while an environment is to be made after it."""
FAILED_SECONDS = 3600.0
"""How long a setup that failed apart from its job is not tried again."""


@dataclass(slots=True)
class Build:
    """An environment that is to be made."""

    key: str
    job: Job
    plan: ExecutionPlan
    directory: Path
    """Has what is known of it in `RECORD`, and the inputs of the setup. No container sees any of that."""
    is_renewal: bool
    """The job did not run the setup, since it started from an older environment."""
    began: float | None = None
    """The uptime at which it began."""
    patience: float = 0.0
    """How many seconds jobs wait for it: as long as the setup took in the job."""

    def make_run(self) -> Path:
        """Return a new directory for a container, with a workspace that has the inputs alone.

        Raises InputsChanged, OSError.
        """
        assert self.plan.setup is not None, "only plans with a setup are staged"
        run = self.directory / f"run-{new_job_id()}"
        target = run / "workspace" / self.plan.directory
        target.mkdir(mode=0o755, parents=True)
        copy_inputs(self.directory / INPUTS, self.plan.setup.inputs, target, self.plan.setup.digest)
        return run


@dataclass
class Builds:
    """The environments that are to be made, by key, and the setups that failed."""

    runtime: str
    """The name of the runtime that makes them."""
    data: DataDirectory
    jobs: JobStore
    uptime: Uptime
    make: Callable[[Build], Awaitable[None]]
    delete_tree: Callable[[Path], Awaitable[None]]
    on_change: Callable[[], None]
    """Called when jobs need not wait for an environment any more."""
    _builds: dict[str, Build] = field(default_factory=dict)
    _failures: dict[str, tuple[float, str]] = field(default_factory=dict)
    _added: asyncio.Event = field(default_factory=asyncio.Event)
    _resumed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `_builds` has what an earlier controller was to make."""

    async def directories(self) -> set[Path]:
        """Return the directories that are in use, once it is known which of them an earlier controller has left."""
        await self._resumed.wait()
        return {build.directory for build in self._builds.values()}

    def failure(self, key: str) -> str | None:
        """Return why no environment is kept of the setup, as far as that is known."""
        until, message = self._failures.get(key, (0.0, ""))
        return message if self.uptime() < until else None

    def is_awaited(self, key: str) -> bool:
        """Return whether the environment is being made and soon there, so that a job does better to wait for it."""
        build = self._builds.get(key)
        if build is None or build.began is None or build.is_renewal:
            return False
        return self.uptime() < build.began + build.patience

    def is_coming(self, key: str) -> bool:
        """Return whether the environment is still to be made, or whether that is not known yet."""
        return key in self._builds or not self._resumed.is_set()

    async def stage(self, key: str, job: Job, plan: ExecutionPlan, *, is_renewal: bool) -> None:
        """Take a copy of the inputs in the workspace of a job whose code has not begun, to make the environment later.

        Does nothing if that cannot be done: no job fails because of it.
        """
        if key in self._builds or (self.failure(key) is not None and not (plan.setup and plan.setup.fresh)):
            return
        assert plan.setup is not None, "the caller has checked that there is one"
        directory = self.data.environments / new_job_id()
        build = self._builds[key] = Build(key, job, plan, directory, is_renewal)
        source = self.data.run_of(job).workspace / plan.directory
        try:
            await in_thread(_stage, build, source, self.runtime)
        except (InputsChanged, CiError, OSError) as exc:
            log.info("the environment of job %s cannot be prepared: %s", job.id, exc)
            await self._drop(build)
            return
        except BaseException:
            self._builds.pop(key, None)
            raise
        self._added.set()

    async def run(self) -> None:
        """Make what is to be made, also what an earlier controller was to make, until cancelled."""
        try:
            await self._resume()
            while True:
                await self._added.wait()
                self._added.clear()
                while self._builds:
                    for build in list(self._builds.values()):
                        await self._advance(build)
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._resumed.clear()
            self._builds.clear()

    async def _resume(self) -> None:
        for directory in await in_thread(staged, self.data):
            try:
                record = _Record.model_validate_json((directory / RECORD).read_bytes())
                job = (await self.jobs.get(record.job_id)).as_of(record.attempt)
                plan = ExecutionPlan.model_validate(job.plan)
            except (CiError, OSError, ValueError, IndexError):
                continue  # It is removed later.
            if record.runtime == self.runtime and record.key not in self._builds and plan.setup is not None:
                self._builds[record.key] = Build(record.key, job, plan, directory, record.is_renewal)
                self._added.set()
        self._resumed.set()

    async def _advance(self, build: Build) -> None:
        try:
            is_wanted = await self._is_wanted(build)
        except CiError as exc:
            log.warning("environments are not prepared at present: %s", exc)
            return
        if is_wanted is None:
            return
        if is_wanted:
            await self._try(build)
        await self._drop(build)
        self.on_change()

    async def _try(self, build: Build) -> None:
        build.began = self.uptime()
        try:
            await self.make(build)
            self._failures.pop(build.key, None)
        except LeadershipLost:
            raise
        except (CiError, OSError) as exc:
            log.warning("no environment is kept of the setup of job %s: %s", build.job.id, exc)
            self._failures[build.key] = self.uptime() + FAILED_SECONDS, str(exc)

    async def _drop(self, build: Build) -> None:
        try:
            await self.delete_tree(build.directory)
        except (CiError, OSError) as exc:
            log.warning("%s is left, and is removed later: %s", build.directory, exc)
        finally:
            self._builds.pop(build.key, None)

    async def _is_wanted(self, build: Build) -> bool | None:
        """Return whether the setup has succeeded in the job, or None as long as that is not known."""
        assert build.plan.setup is not None, "only plans with a setup are staged"
        try:
            job = (await self.jobs.get(build.job.id)).as_of(build.job.attempt)
        except (JobNotFound, IndexError):
            return False
        has_ended = job.state is State.COMPLETED
        if build.is_renewal:
            return True if has_ended else None
        setup = live_steps(job, self.data.run_of(job))[: build.plan.setup.steps]
        if len(setup) == build.plan.setup.steps and all(step.status is StepStatus.SUCCEEDED for step in setup):
            ended = setup[-1].end_time or setup[0].start_time
            build.patience = (ended - setup[0].start_time).total_seconds()
            return True
        return False if has_ended else None


class _Record(BaseModel):
    """What a later controller has to know of a build."""

    model_config = ConfigDict(extra="forbid")

    key: str
    runtime: str
    job_id: str
    attempt: int
    is_renewal: bool


def staged(data: DataDirectory) -> list[Path]:
    """Return the directories of the environments that are still to be made, by this controller or by a later one."""
    try:
        return sorted(path.parent for path in data.environments.glob(f"*/{RECORD}"))
    except OSError:
        return []


def _stage(build: Build, source: Path, runtime: str) -> None:
    assert build.plan.setup is not None, "the caller has checked that there is one"
    build.directory.mkdir(mode=0o700, parents=True)
    (build.directory / INPUTS).mkdir()
    copy_inputs(source, build.plan.setup.inputs, build.directory / INPUTS, build.plan.setup.digest)
    job = build.job
    record = _Record(key=build.key, runtime=runtime, job_id=job.id, attempt=job.attempt, is_renewal=build.is_renewal)
    draft = build.directory / f"{RECORD}.draft"
    draft.write_text(record.model_dump_json())
    draft.rename(build.directory / RECORD)
