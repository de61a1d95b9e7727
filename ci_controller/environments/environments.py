"""The prepared environments of one runtime during one term: which one a job starts from, and making what is missing."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from ci_common.attempts.parts import JobEnvironment
from ci_common.environments import Environment, Verification
from ci_common.errors import CiError
from ci_common.jobs import Job, Reason, ReasonCode
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import RuntimeUnavailable, StartFault
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_common.times import to_micros
from ci_controller.environments.builds import Build, Builds
from ci_controller.environments.keys import key_of, scope_of
from ci_controller.job_writer import JobWriter
from ci_controller.pool import Pool
from ci_controller.runtime.protocol import LocalRuntime, WorkloadKey

log = logging.getLogger(__name__)

SHOWN_KEY = 12
"""How many characters of a key are shown to people."""
TOUCH = timedelta(seconds=60)
"""How exactly the last use of an environment is noted."""
_LONGEST_TEXT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Start:
    """How an attempt starts."""

    plan: ExecutionPlan
    """With the environment in the place of the image, if the attempt starts from one."""
    skipped: int = 0
    """How many of the first steps need not run, since their outcome is there."""
    note: str = ""
    """A line for the log of the first step; empty for none."""
    reference: str | None = None
    """The environment that the attempt starts from."""
    downloads: Path | None = None
    """What setups of its project have downloaded, for an attempt that runs its setup; None if there is nothing."""
    is_apart: bool = False
    """It is nothing but a setup, with its inputs alone, so it may write there."""


class Environments:
    """Prepared environments. Where anything fails here, jobs run their setup themselves."""

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: LocalRuntime,
        data: DataDirectory,
        writer: JobWriter,
        pool: Pool | None,
        on_change: Callable[[], None],
    ) -> None:
        """`runtime` is guarded; `on_change` is called when jobs that waited for an environment need not any more."""
        self._settings = settings
        self._runtime = runtime
        self._data = data
        self._writer = writer
        self._store = writer.storage.environments
        self._pool = pool
        self.builds = Builds(
            runtime.name, data, writer.storage.jobs, writer.uptime, self._make, runtime.delete_tree, on_change
        )

    async def run(self) -> None:
        """Make environments until cancelled."""
        await self.builds.run()

    async def choose(self, job: Job, plan: ExecutionPlan) -> JobEnvironment | Reason | None:
        """Return the environment of a job that is to start now, why it waits for one, or None if it has none.

        Raises RuntimeUnavailable, Unavailable.
        """
        if plan.setup is None or not self._settings.prepared_bytes:
            return None
        basis = await self._runtime.basis_of(plan)
        if basis is None:
            return None
        key = key_of(job, plan, basis)
        if plan.setup.verifies:
            return await self._to_be_verified(key, plan)
        if plan.setup.fresh:
            return JobEnvironment(key, hit=False)
        stored = await self._store.get(key)
        if stored is not None and await self._runtime.has_environment(stored.reference, plan):
            return self._hit(stored)
        return _preparing(key) if self.builds.is_awaited(key) else JobEnvironment(key, hit=False)

    async def _to_be_verified(self, key: str, plan: ExecutionPlan) -> JobEnvironment | Reason:
        stored = await self._store.get(key)
        if stored is not None and await self._runtime.has_environment(stored.reference, plan):
            return replace(self._hit(stored), hit=False)
        return _preparing(key) if self.builds.is_coming(key) else JobEnvironment(key, hit=False)

    def _hit(self, stored: Environment) -> JobEnvironment:
        age = max(timedelta(), self._writer.clock() - stored.created_time).total_seconds()
        return JobEnvironment(
            stored.key, hit=True, created=to_micros(stored.created_time), age=age, reference=stored.reference
        )

    def start_of(self, job: Job, plan: ExecutionPlan) -> Start:
        """Return how an attempt starts whose environment has been chosen.

        Raises StartFault if it is to verify one, and there is none.
        """
        environment = job.environment
        if plan.setup is not None and plan.setup.verifies:
            return self._start_apart(job, plan)
        if environment is None or plan.setup is None:
            return Start(plan)
        if environment.hit and environment.reference is not None:
            made = "just now" if environment.age is None else f"{_shown_age(environment.age)} ago"
            note = f"ci: starts from the prepared environment {environment.key[:SHOWN_KEY]}, made {made}"
            started = plan.model_copy(update={"image": environment.reference})
            return Start(started, skipped=plan.setup.steps, note=note, reference=environment.reference)
        failure = self.builds.failure(environment.key)
        note = "" if failure is None else f"ci: no environment is kept of this setup: {failure}"
        downloads = self._data.downloads / scope_of(job)
        return Start(plan, note=note, downloads=downloads if plan.takes_downloads and downloads.is_dir() else None)

    def _start_apart(self, job: Job, plan: ExecutionPlan) -> Start:
        environment = job.environment
        if environment is None or environment.reference is None:
            failure = None if environment is None else self.builds.failure(environment.key)
            raise StartFault(
                "there is no environment of this setup with which its outcome could be compared: "
                f"{failure or 'none is kept, or the image, the settings or the machine have changed since'}"
            )
        return Start(plan, downloads=self._data.downloads / scope_of(job), is_apart=True)

    async def verify(self, job: Job, plan: ExecutionPlan, workload: WorkloadKey, run: RunDirectory) -> str | None:
        """Return a `Verification` of what an attempt has left, whose code has ended; None if it is not to verify any.

        Raises RuntimeUnavailable.
        """
        environment, ended = job.environment, run.read_exit()
        is_made = environment is not None and ended is not None and ended.code == 0 and job.stop_code is None
        if plan.setup is None or not plan.setup.verifies or not is_made:
            return None
        assert environment is not None, "else it would not have started"
        assert environment.reference is not None, "the same"
        try:
            found = await self._runtime.compare_environment(environment.reference, workload, run)
        except RuntimeUnavailable:
            raise
        except (CiError, OSError) as exc:
            return Verification(environment=environment.key, same=None, message=str(exc)).model_dump_json()
        return Verification(environment=environment.key, same=not found.different, comparison=found).model_dump_json()

    async def note_use(self, job: Job, plan: ExecutionPlan) -> None:
        """Note that an attempt is about to begin, whose workspace is in place: make what it lacks once it has run."""
        environment = job.environment
        if environment is None or plan.setup is None or plan.setup.verifies:
            return
        if environment.hit:
            await self._touch(environment.key, job.id)
        is_old = (environment.age or 0) >= self._settings.prepared_max_age and not plan.setup.pinned
        if not environment.hit or is_old:
            await self.builds.stage(environment.key, job, plan, is_renewal=environment.hit)

    def drop(self, reference: str) -> None:
        """Let no workload of an environment wait any more, since it is to be removed."""
        if self._pool is not None:
            self._pool.drop_image(reference)

    async def _touch(self, key: str, job_id: str) -> None:
        now = self._writer.clock()
        try:
            stored = await self._store.get(key)
            if stored is not None and now - stored.last_used_time >= TOUCH:
                await self._store.touch(key, job_id, now, self._writer.lease)
        except CiError as exc:
            log.warning("the use of environment %s cannot be noted: %s", key, exc)

    async def _is_made(self, build: Build, stored: Environment) -> bool:
        """Return whether the environment has been made for another job since this one was given what there was."""
        assert build.plan.setup is not None, "only plans with a setup are staged"
        if not await self._runtime.has_environment(stored.reference, build.plan):
            return False
        given = build.job.environment
        if build.is_renewal:
            return given is None or to_micros(stored.created_time) != given.created
        return not build.plan.setup.fresh

    async def _make(self, build: Build) -> None:
        plan, job = build.plan, build.job
        assert plan.setup is not None, "only plans with a setup are staged"
        before = await self._store.get(build.key)
        if before is not None and await self._is_made(build, before):
            return
        downloads = self._data.downloads / scope_of(job)
        run = await in_thread(build.make_run)
        made = await self._runtime.make_environment(build.key, plan, run, downloads)
        now = self._writer.clock()
        await self._store.put(
            Environment(
                key=build.key,
                owner=job.owner,
                project=job.project,
                job_id=job.id,
                runtime=self._runtime.name,
                reference=made.reference,
                image=plan.image,
                setup=plan.setup_text[:_LONGEST_TEXT],
                inputs=plan.setup.inputs,
                pinned=plan.setup.pinned,
                created_time=now,
                last_used_time=now,
                size=made.size,
                seconds=made.seconds,
            ),
            self._writer.lease,
        )
        if before is not None:
            self.drop(before.reference)
        if self._pool is not None and await self._runtime.has_environment(made.reference, plan):
            await self._pool.expect(plan.model_copy(update={"image": made.reference}))


def _preparing(key: str) -> Reason:
    message = f"the environment {key[:SHOWN_KEY]} of its setup is being prepared"
    return Reason(ReasonCode.PREPARING_ENVIRONMENT, message)


def _shown_age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
