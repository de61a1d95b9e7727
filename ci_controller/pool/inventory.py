"""The workloads of one pool: which wait, which are claimed by attempts, and what is done to one of them.

Whose a workload is, its ticket says (`ci_common.run_directory.tickets`). What is known here follows from the tickets,
so a controller that starts knows the same. A claim is one rename of a ticket. After it, the run directory of the
workload is moved to the attempt's place; until that has happened, the next `prepare` of the attempt continues it.
"""

import asyncio
import os
from contextlib import suppress

from ci_common.errors import CiError
from ci_common.jobs import is_job_id, new_job_id
from ci_common.run_directory import tickets
from ci_common.run_directory.attributes import make_place_of_trees
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import ImageFault, StartFault
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_common.system.watch import FileWatcher, Watched
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory import preparation, workspace
from ci_controller.runtime.protocol import WAITING, Check, LocalRuntime, WorkloadKey, WorkloadSpec

BOOT_SECONDS = 60.0


class Inventory:
    """The workloads of one pool during one term, by their ids."""

    def __init__(self, runtime: LocalRuntime, data: DataDirectory, watcher: FileWatcher, check: Check) -> None:
        """`runtime` is guarded by `check`, which raises LeadershipLost for a controller that may not lead any more."""
        self.runtime = runtime
        self.data = data
        self._check = check
        self._watcher = watcher
        self.waiting: dict[str, str] = {}
        """Profiles by workload, oldest first; so is the next one."""
        self.making: dict[str, str] = {}
        self._removing: set[str] = set()
        self._creating: dict[str, asyncio.Task[None]] = {}
        """What the engine was asked to create: it does so although the caller has been cancelled."""
        self._claims: dict[WorkloadKey, str] | None = None

    @property
    def known(self) -> set[str]:
        """All workloads that wait, are being made or are being removed."""
        return self.waiting.keys() | self.making.keys() | self._removing

    @property
    def claims(self) -> dict[WorkloadKey, str]:
        """The claimed workloads, by attempt.

        One whose run directory `is_in_pool` has not been taken into use, and never is once its attempt has been
        prepared without it.
        """
        if self._claims is None:
            self._claims = {}
            self.read_claims()
        return self._claims

    def read_claims(self) -> None:
        """Add the claims that others have made: earlier controllers, and one that was stopped and goes on late."""
        known = self.claims
        for ticket in tickets.read(self.data.pool):
            if ticket.holder is None:
                continue
            key = WorkloadKey(*ticket.holder)
            present = known.get(key)
            # Of two, only one can have been moved to the attempt's place.
            if present is None or (self.is_in_pool(present) and not self.is_in_pool(ticket.workload)):
                known[key] = ticket.workload

    def in_directory(self) -> set[str]:
        """Return the workloads that have something in the pool's directory."""
        try:
            return {name for entry in self.data.pool.iterdir() if is_job_id(name := entry.name.partition(".")[0])}
        except FileNotFoundError:
            return set()

    def is_in_pool(self, workload: str) -> bool:
        """Return whether the run directory of the workload has not been moved to an attempt's place."""
        return os.path.lexists(self.data.waiting_run(workload).path)

    def holder_of(self, workload: str) -> WorkloadKey | None:
        """Return the attempt that has claimed the workload, or None."""
        return next((key for key, claimed in self.claims.items() if claimed == workload), None)

    def number(self, profile: str) -> int:
        """Return how many of this profile wait, or will soon."""
        return sum(each == profile for each in (*self.waiting.values(), *self.making.values()))

    def claim(self, key: WorkloadKey, profile: str) -> str | None:
        """Give the workload of this profile that has waited longest to the attempt, in one step; None if none waits."""
        for workload in [each for each, its_profile in self.waiting.items() if its_profile == profile]:
            del self.waiting[workload]
            if tickets.claim(self.data.pool, workload, key.job_id, key.attempt):
                self.claims[key] = workload
                return workload
        return None

    def drop_claim(self, key: WorkloadKey) -> None:
        """Forget the claim of an attempt, once its workload is gone."""
        if (workload := self.claims.get(key)) is not None:
            self._check()
            tickets.drop(self.data.pool, workload, key.job_id, key.attempt)
            del self.claims[key]

    async def release(self, key: WorkloadKey, run: RunDirectory) -> None:
        """Undo a claim, as far as it was carried out: remove the workload, and give the job its workspace back.

        For an attempt whose code has not begun, or has ended. Raises RuntimeFault, LeadershipLost, OSError.
        """
        workload = self.claims[key]
        waiting = self.data.waiting_run(workload)
        await self.runtime.remove(workload_key(workload))
        self._check()
        await in_thread(workspace.move_out, run, waiting)
        self.drop_claim(key)
        await self.runtime.delete_tree(waiting.path)

    async def waits(self, workload: str) -> bool:
        """Return whether the workload is at its gate. Raises RuntimeUnavailable."""
        run = self.data.waiting_run(workload)
        if not run.is_waiting() or run.is_started():
            return False
        # It is not read for a moment after something has opened it.
        return run.is_gate_read() or ((await self.runtime.look(workload_key(workload))).phase is WorkloadPhase.RUNNING)

    async def waits_with_services(self, workload: str) -> bool:
        """Return whether the workload is at its gate, and its services run. Raises RuntimeUnavailable."""
        return await self.waits(workload) and await self.runtime.failed_service(workload_key(workload)) is None

    async def make(self, profile: str, plan: ExecutionPlan) -> bool:
        """Make one that waits; return False if none of this profile can: the image's name means another one now.

        Raises StartFault and ImageFault where none of this profile can wait, and RuntimeUnavailable, LeadershipLost and
        OSError, after which the next `adopt` shows what has become of it.
        """
        workload = new_job_id()
        self.making[workload] = profile
        try:
            has_profile = await self._bring_up(workload, profile, plan)
            if has_profile and await self.waits(workload):
                self._check()
                tickets.offer(self.data.pool, workload)
                self.waiting[workload] = profile
        except (CiError, OSError) as exc:
            del self.making[workload]
            if isinstance(exc, StartFault | ImageFault):
                await self.remove(workload)
            raise
        del self.making[workload]
        if workload not in self.waiting:
            await self.remove(workload)
        return has_profile

    async def _bring_up(self, workload: str, profile: str, plan: ExecutionPlan) -> bool:
        key, run = workload_key(workload), self.data.waiting_run(workload)
        await in_thread(make_place_of_trees, self.data.pool)
        await in_thread(preparation.prepare_gate, run, has_console=self.runtime.has_console)
        await self._create(WorkloadSpec(key, run, plan, profile))
        await self.runtime.start(key)
        await self._until_waiting(run)
        if plan.services:
            await self.runtime.await_services(key, plan)
        # The image's name may have come to mean another image since.
        return await self.runtime.profile_of(plan, lately=False) == profile

    async def _create(self, spec: WorkloadSpec) -> None:
        workload = spec.key.job_id
        creating = self._creating[workload] = asyncio.create_task(
            self.runtime.create(spec), name=f"creating {workload}"
        )
        creating.add_done_callback(lambda _: self._creating.pop(workload))
        await asyncio.shield(creating)

    async def _until_waiting(self, run: RunDirectory) -> None:
        with self._watcher.subscribe((run.path, Watched.ENTRIES)) as wakeups, suppress(TimeoutError):
            async with asyncio.timeout(BOOT_SECONDS):
                while not run.is_waiting():
                    await wakeups.wait(BOOT_SECONDS)

    async def remove(self, workload: str) -> None:
        """Remove a workload that no attempt has claimed. Raises RuntimeFault, LeadershipLost, OSError."""
        self.waiting.pop(workload, None)
        self._removing.add(workload)
        try:
            if (creating := self._creating.get(workload)) is not None:
                await asyncio.wait({creating})
            self._check()
            # An engine that is asked to remove it does so however late. So no attempt may get it from now on.
            if not tickets.withdraw(self.data.pool, workload) and self._was_claimed(workload):
                return
            self._drop_void_claims(workload)
            await self.runtime.remove(workload_key(workload))
            await self.runtime.delete_tree(self.data.waiting_run(workload).path)
        finally:
            self._removing.discard(workload)

    def _was_claimed(self, workload: str) -> bool:
        self.read_claims()
        return self.holder_of(workload) is not None

    def _drop_void_claims(self, workload: str) -> None:
        """Remove the tickets by which attempts have the workload that run in another one."""
        for ticket in tickets.read(self.data.pool):
            if ticket.workload == workload and ticket.holder is not None:
                tickets.drop(self.data.pool, workload, *ticket.holder)


def workload_key(workload: str) -> WorkloadKey:
    """Return the key of a workload that was made to wait for a job."""
    return WorkloadKey(workload, WAITING)
