"""The workloads of one pool, by how far each has come, and what is done to one: making, checking, removing."""

import asyncio
from contextlib import suppress

from ci_common.errors import CiError, ImageFault, StartFault
from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_common.system.watch import FileWatcher, Watched
from ci_controller.run_directory import preparation
from ci_controller.runtime.guarded import Check
from ci_controller.runtime.protocol import WAITING, Phase, Runtime, WorkloadKey, WorkloadSpec

BOOT_SECONDS = 60.0


class Stock:
    """See the module. Whoever changes it tells the others."""

    def __init__(self, runtime: Runtime, data: DataDirectory, watcher: FileWatcher, check: Check) -> None:
        """`runtime` has to change nothing for a controller that leads no more, which `check` tells."""
        self.runtime = runtime
        self._check = check
        self.data = data
        self._watcher = watcher
        self.waiting: dict[str, str] = {}
        """Kinds by workload, oldest first; the same in the next two."""
        self.taking: dict[str, str] = {}
        self.making: dict[str, str] = {}
        self._removing: set[str] = set()
        self._creating: dict[str, asyncio.Task[None]] = {}
        """What the engine has been asked to create, and carries out though nobody waits for it any more."""

    @property
    def known(self) -> set[str]:
        """Every workload that something is done with here."""
        return self.waiting.keys() | self.taking.keys() | self.making.keys() | self._removing

    def number(self, kind: str) -> int:
        """Return how many of this kind wait, or will soon."""
        return sum(each == kind for each in (*self.waiting.values(), *self.making.values()))

    def oldest(self, kind: str) -> str | None:
        """Return the one of this kind that has waited longest, or None."""
        return next((workload for workload, its_kind in self.waiting.items() if its_kind == kind), None)

    async def waits(self, workload: str) -> bool:
        """Tell whether the workload is at its gate. Raises RuntimeUnavailable."""
        run = self.data.waiting_run(workload)
        if not run.is_waiting() or run.is_started() or run.is_doomed():
            return False
        # It is not read for a moment after somebody has looked there.
        return run.is_gate_read() or (await self.runtime.look(_key(workload))).phase is Phase.RUNNING

    async def make(self, kind: str, plan: ExecutionPlan) -> bool:
        """Make one that waits; return False where none of this kind can: its image's name means another by now.

        Raises StartFault and ImageFault where none of this kind can wait, and RuntimeUnavailable, LeadershipLost and
        OSError, after which the next look shows what has come of it.
        """
        workload = new_job_id()
        self.making[workload] = kind
        try:
            is_kind = await self._bring_up(workload, kind, plan)
            if is_kind and await self.waits(workload):
                self.waiting[workload] = kind
        except (CiError, OSError) as exc:
            del self.making[workload]
            if isinstance(exc, StartFault | ImageFault):
                await self.remove(workload)
            raise
        del self.making[workload]
        if workload not in self.waiting:
            await self.remove(workload)
        return is_kind

    async def _bring_up(self, workload: str, kind: str, plan: ExecutionPlan) -> bool:
        key, run = _key(workload), self.data.waiting_run(workload)
        self.data.pool.mkdir(mode=0o700, exist_ok=True)
        await in_thread(preparation.prepare_gate, run, has_console=self.runtime.has_console)
        await self._create(WorkloadSpec(key, run, plan, kind))
        await self.runtime.start(key)
        await self._until_waiting(workload)
        # The image's name may have come to mean another one meanwhile.
        return await self.runtime.kind_of(plan) == kind

    async def _create(self, spec: WorkloadSpec) -> None:
        workload = spec.key.job_id
        creating = self._creating[workload] = asyncio.create_task(
            self.runtime.create(spec), name=f"creating {workload}"
        )
        creating.add_done_callback(lambda _: self._creating.pop(workload))
        await asyncio.shield(creating)

    async def _until_waiting(self, workload: str) -> None:
        run = self.data.waiting_run(workload)
        with self._watcher.subscribe((run.path, Watched.ENTRIES)) as wakeups, suppress(TimeoutError):
            async with asyncio.timeout(BOOT_SECONDS):
                while not run.is_waiting():
                    await wakeups.wait(BOOT_SECONDS)

    async def remove(self, workload: str) -> None:
        """Remove a workload that no job has taken, whole. Raises RuntimeFault, LeadershipLost, OSError."""
        self.waiting.pop(workload, None)
        self._removing.add(workload)
        try:
            if (creating := self._creating.get(workload)) is not None:
                await asyncio.wait({creating})
            # An engine that was asked to remove it does so however late, when another controller may have given it to a
            # job.
            self._check()
            preparation.doom(self.data.waiting_run(workload))
            await self.runtime.remove(_key(workload))
            await self.runtime.reclaim(self.data.waiting_run(workload).path)
        finally:
            self._removing.discard(workload)


def _key(workload: str) -> WorkloadKey:
    return WorkloadKey(workload, WAITING)
