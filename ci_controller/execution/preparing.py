"""Prepares attempts in run directories of this machine: their files, and the workloads that they run in."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from ci_common.archives.unpack import UnpackLimits
from ci_common.jobs import Job
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import NoNetwork, StartFault
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_controller.caches import Caches
from ci_controller.caches.files import Choice
from ci_controller.environments import Environments
from ci_controller.environments.environments import Start
from ci_controller.policy import WorkloadPhase
from ci_controller.pool import Pool
from ci_controller.run_directory import preparation, workspace
from ci_controller.run_directory.preparation import write_script
from ci_controller.run_directory.workspace import fill_workspace
from ci_controller.runtime.protocol import Check, LocalRuntime, WorkloadKey, WorkloadSpec
from ci_controller.secrets.resolving import ResolvedSecrets, Secrets, place_masks

GONE = (WorkloadPhase.EXITED, WorkloadPhase.ABSENT)


@dataclass(frozen=True, slots=True)
class _Begin:
    """What the job's code begins with."""

    script: bytes
    secrets: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Preparer:
    """Prepares the attempts of one runtime."""

    runtime: LocalRuntime
    """Guarded by `check`."""
    data: DataDirectory
    limits: UnpackLimits
    """Those of uploads that are unpacked again."""
    check: Check
    """Called before every change to a run directory; may forbid it by raising."""
    pool: Pool | None
    environments: Environments | None = None
    caches: Caches | None = None
    secrets: Secrets | None = None

    async def prepare(self, job: Job, run: RunDirectory, workload: WorkloadKey) -> None:
        """Prepare the attempt in `run`, as `Execution.prepare` promises. `workload` is what it may have had before.

        Where networks are missing, one that waits with its services goes first.
        """
        plan = ExecutionPlan.model_validate(job.plan)
        if self.pool is not None:
            self.pool.note_starting(WorkloadKey.of(job))
        if run.is_prepared():
            await self._remove_exited(job, run, workload)
        async with AsyncExitStack() as stack:
            choice = Choice() if self.caches is None else await stack.enter_async_context(self.caches.chosen(job, plan))
            await self._prepare(job, run, plan, choice)
        if self.environments is not None:
            await self.environments.note_use(job, plan)

    async def _prepare(self, job: Job, run: RunDirectory, plan: ExecutionPlan, choice: Choice) -> None:
        start = Start(plan) if self.environments is None else self.environments.start_of(job, plan)
        surroundings = self.runtime.describe(plan, run)
        setup, environment = surroundings.setup, surroundings.environment
        if setup is not None and start.reference is not None:
            setup = replace(setup, program=())
        if start.is_apart and start.downloads is not None:
            environment = {**environment, **self.runtime.downloading_into(start.downloads)}
        try:
            script = write_script(
                plan,
                base=str(surroundings.base),
                environment=environment,
                setup=setup,
                skipped=start.skipped,
                note=start.note,
                caches=choice.caches,
                most_cache_bytes=0 if self.caches is None else self.caches.most_bytes,
            )
        except ValueError as exc:  # In plans that were stored before their texts were checked.
            raise StartFault(f"the job's script cannot be written, since one of its texts is not valid: {exc}") from exc
        resolved = await self._secrets_of(job, plan, surroundings.base)
        if resolved is not None:
            self.check()
            await in_thread(place_masks, run, resolved.masks)
        begin = _Begin(script, None if resolved is None else resolved.script)
        try:
            if not await self._take_waiting(job, run, start, begin, choice):
                await self._make(job, run, start, begin, choice)
        except NoNetwork:
            if self.pool is not None:
                await self.pool.give_network()
            raise

    async def _secrets_of(self, job: Job, plan: ExecutionPlan, base: Path) -> ResolvedSecrets | None:
        if self.secrets is None:
            return None
        return await self.secrets.resolve(job, plan, base)

    async def _place(self, choice: Choice, directory: Path, run: RunDirectory) -> None:
        has_home = not self.runtime.isolated and any(cache.plan.is_in_home for cache in choice.caches)
        await in_thread(choice.place, directory, run, has_home=has_home)

    async def _make(self, job: Job, run: RunDirectory, start: Start, begin: "_Begin", choice: Choice) -> None:
        """Make a workload for the attempt."""
        if job.has_upload and not preparation.has_workspace(run):
            await self._fill_workspace(job, run)
        self.check()
        has_console = self.runtime.has_console
        await in_thread(preparation.prepare, run, begin.script, has_console=has_console, secrets=begin.secrets)
        await self._place(choice, run.path, run)
        spec = WorkloadSpec(
            WorkloadKey.of(job),
            run,
            start.plan,
            environment=start.reference,
            downloads=start.downloads,
            is_apart=start.is_apart,
        )
        await self.runtime.create(spec)

    async def _remove_exited(self, job: Job, run: RunDirectory, workload: WorkloadKey) -> None:
        """Remove a workload that has ended before its gate, and nothing else, so that another one can be made."""
        mark = run.waiting_mark()
        if (await self.runtime.look(workload)).phase not in GONE:
            return
        await self.runtime.remove(workload, only_exited=True)
        if self.pool is not None:
            self.pool.forget(WorkloadKey.of(job))
        self.check()
        # The mark of a workload that was made since stays.
        if mark is not None and run.waiting_mark() == mark:
            run.waiting.unlink(missing_ok=True)

    async def _take_waiting(self, job: Job, run: RunDirectory, start: Start, begin: "_Begin", choice: Choice) -> bool:
        """Give the attempt a workload that waits for a job of its profile; return whether it has one.

        None that waits sees the downloads of a project, and without these a setup takes longer than a cold start.
        """
        if self.pool is None:
            return False
        key = WorkloadKey.of(job)
        self.check()
        may_claim = start.downloads is None and workspace.is_free(run)
        workload = await self.pool.claim(key, start.plan) if may_claim else None
        if workload is None:
            return self.pool.workload_of(key) is not None
        waiting = self.data.waiting_run(workload.job_id)
        if job.has_upload and not (preparation.has_workspace(run) or preparation.has_workspace(waiting)):
            await self._fill_workspace(job, run)
        self.check()
        await self._place(choice, waiting.path, run)
        if await in_thread(workspace.move_in, run, waiting, begin.script, begin.secrets):
            return True
        await self.pool.release(key)
        return False

    async def _fill_workspace(self, job: Job, run: RunDirectory) -> None:
        if job.attempt == 1:
            raise StartFault(f"the project unpacked for job {job.id} is gone from the data directory; submit it again")
        self.check()
        await fill_workspace(run, self.data.upload(job.id), self.limits)
