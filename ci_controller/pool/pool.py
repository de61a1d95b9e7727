"""The pool of one controller's term: workloads that wait at their gates, each for one job and never for a second one.

How many of which profile wait, which attempt gets one, and which of those that an earlier controller left wait on. Only
`ci_controller.execution.workloads` knows of it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress

from ci_common.errors import CiError, LeadershipLost
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import ImageFault, RuntimeFault, StartFault
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Disk
from ci_common.system.watch import FileWatcher
from ci_controller.job_writer import JobWriter
from ci_controller.pool.demand import (
    MEMORY_BYTES,
    Demand,
    PoolPublisher,
    describe_profiles,
    free_memory_percent,
    why_held_back,
)
from ci_controller.pool.inventory import Inventory, workload_key
from ci_controller.runtime.protocol import WAITING, Check, ListedWorkload, LocalRuntime, WorkloadKey

log = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
"""How often to check, while workloads wait, whether they still should."""
LONG_SECONDS = 3600.0
PAUSE_SECONDS = 0.1
"""How long a job that starts has the machine to itself before its workload is replaced."""
QUIET_SECONDS = 1.0
"""The same of one that got a workload that waited, unless it ends before: making one would take a processor from it."""
RETRY_SECONDS = 10.0
"""How long to make none after one could not be made."""
CLOSE_SECONDS = 5.0
"""How long a controller that stops takes to remove what waits."""


class Pool:
    """The waiting workloads of one runtime, and the claims on them."""

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: LocalRuntime,
        data: DataDirectory,
        writer: JobWriter,
        watcher: FileWatcher,
        check: Check,
        is_filled: bool = True,
        memory_percent: Callable[[], float] = free_memory_percent,
    ) -> None:
        """`runtime` is guarded by `check`, which raises LeadershipLost for a controller that may not lead any more.

        Without `is_filled`, as for a runtime that new jobs do not get, nothing waits: only claims are known.
        """
        self._settings = settings
        self._size = min(settings.pool_size, settings.pool_memory // MEMORY_BYTES) if is_filled else 0
        self._is_filled = is_filled
        self.inventory = Inventory(runtime, data, watcher, check)
        self._writer = writer
        self._wakeups = watcher.subscribe()
        self._memory_percent = memory_percent
        self._disk = Disk.of(settings)
        self._demand = Demand(most=settings.pool_per_key, forget_after=settings.pool_forget)
        self._doubted: set[str] = set()
        self._held_back: str | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._starting: set[WorkloadKey] = set()
        self._not_before = 0.0
        self._quiet: tuple[WorkloadKey, float] | None = None
        """The attempt that has the machine to itself, and until when."""
        self._publisher = PoolPublisher(writer, size=self._size, per_profile=settings.pool_per_key)
        self._has_swept = False

    # For attempts.

    async def claim(self, key: WorkloadKey, plan: ExecutionPlan) -> WorkloadKey | None:
        """Give the attempt, which starts now, a workload that waits; return it, or None if none of the profile does.

        One that the attempt has claimed before is returned again, unless it has died: that one is released. The run
        directory of what is returned is still in the pool. Raises RuntimeUnavailable, LeadershipLost, OSError.
        """
        inventory = self.inventory
        workload = inventory.claims.get(key)
        profile = await inventory.runtime.profile_of(plan) if self._size and workload is None else None
        if profile is not None:
            now = self._writer.uptime()
            self._demand.record_start(profile, plan, now, self._writer.clock())
            self._not_before = max(self._not_before, now + PAUSE_SECONDS)
            workload = inventory.claim(key, profile)
            if workload is not None:
                if self._quiet is None or self._quiet[1] <= now:  # One that starts later puts nothing off.
                    self._quiet = key, now + QUIET_SECONDS
                self._publishing = asyncio.create_task(self._publish_claim(), name="publishing the pool")
        if workload is None:
            return None
        if inventory.is_in_pool(workload) and await inventory.waits(workload):
            return workload_key(workload)
        await self.release(key)
        return None

    async def _publish_claim(self) -> None:
        with suppress(CiError):  # The next turn does it, or reports why it cannot.
            await self._publish(self._wanted())

    def workload_of(self, key: WorkloadKey) -> WorkloadKey | None:
        """Return the workload that the attempt runs in if that had waited for a job; None if it has one of its own."""
        workload = self.inventory.claims.get(key)
        return None if workload is None or self.inventory.is_in_pool(workload) else workload_key(workload)

    def has_claim(self, key: WorkloadKey) -> bool:
        """Return whether the attempt has claimed a workload, be it taken into use or not."""
        return key in self.inventory.claims

    async def release(self, key: WorkloadKey) -> None:
        """Remove the workload that the attempt has claimed and does not run in, and the claim."""
        await self.inventory.release(key, self._run_of(key))

    def forget(self, key: WorkloadKey) -> None:
        """Forget the claim of an attempt whose workload has been removed; one not taken into use stays."""
        if self.workload_of(key) is not None:
            self.inventory.drop_claim(key)

    def _run_of(self, key: WorkloadKey) -> RunDirectory:
        return self.inventory.data.run(key.job_id, key.attempt)

    async def expect(self, plan: ExecutionPlan) -> None:
        """Have a workload wait for a job of this plan, of which none has started yet. Raises RuntimeUnavailable."""
        profile = await self.inventory.runtime.profile_of(plan) if self._size else None
        if profile is not None:
            self._demand.record_start(profile, plan, self._writer.uptime(), self._writer.clock())
            self._wakeups.wake()

    async def give_network(self) -> None:
        """Remove a workload that waits with services, if there is one: a job needs its network now.

        Raises RuntimeUnavailable, LeadershipLost, OSError.
        """
        for workload, profile in self.inventory.waiting.items():
            plan = self._demand.plan_of(profile)
            if plan is None or plan.services:
                self._demand.drop(profile)
                self._not_before = max(self._not_before, self._writer.uptime() + RETRY_SECONDS)
                await self.inventory.remove(workload)
                return

    def drop_image(self, image: str) -> None:
        """Let no workload of this image wait any more; those that do are removed soon."""
        self._demand.drop_image(image)
        self._wakeups.wake()

    def note_starting(self, key: WorkloadKey) -> None:
        """Note that an attempt waits for what the engine does: nothing is made beside it."""
        self._starting.add(key)

    def note_started(self, key: WorkloadKey) -> None:
        """Note that an attempt does not wait for the engine any more. May be repeated."""
        if key in self._starting:
            self._starting.remove(key)
            if not self._starting:
                self._not_before = max(self._not_before, self._writer.uptime() + PAUSE_SECONDS)
                self._wakeups.wake()

    def note_ended(self, key: WorkloadKey) -> None:
        """Note that the code of an attempt has ended. May be repeated."""
        if self._quiet is not None and self._quiet[0] == key:
            self._quiet = None
            self._wakeups.wake()

    def heard_of(self, key: WorkloadKey) -> WorkloadKey | None:
        """Return the attempt that a workload belongs to of which the engine has told something; None if it waits."""
        if key.attempt != WAITING:
            return key
        if key.job_id in self.inventory.waiting:
            self._doubted.add(key.job_id)
            self._wakeups.wake()
            return None
        return self.inventory.holder_of(key.job_id)

    # When a controller begins to lead, and when it stops.

    async def adopt(self, listed: Collection[ListedWorkload]) -> list[WorkloadKey]:
        """Return the attempts that the listed workloads belong to, each workload being one that the engine has now.

        Of those that belong to none, the ones that wait are adopted. What was to wait and cannot is removed, unless
        its run directory is not in the pool: that may be a job's that nothing here knows. It is returned as it is.
        Raises RuntimeUnavailable.
        """
        inventory = self.inventory
        inventory.read_claims()
        keys = [each.key for each in listed if each.key.attempt != WAITING]
        for each in listed:
            workload = each.key.job_id
            if each.key.attempt != WAITING or workload in inventory.known:
                continue
            holder = inventory.holder_of(workload)
            if holder is not None:
                keys.append(holder)
            elif not inventory.is_in_pool(workload):
                keys.append(each.key)
            elif not await self._adopt(each):
                await self._remove(workload)
        if not self._has_swept:
            self._has_swept = await self._sweep({each.key.job_id for each in listed})
        return keys

    async def _adopt(self, each: ListedWorkload) -> bool:
        workload, profile = each.key.job_id, each.profile
        offered = {ticket.workload for ticket in tickets.read(self.inventory.data.pool) if ticket.holder is None}
        if (
            profile is None
            or not self._size
            or workload not in offered
            or not await self.inventory.waits_with_services(workload)
        ):
            return False
        self.inventory.waiting[workload] = profile
        alike = list(self.inventory.waiting.values()).count(profile)
        self._demand.record_adopted(profile, alike, self._writer.uptime())
        self._wakeups.wake()
        return True

    async def _sweep(self, listed: set[str]) -> bool:
        """Remove the directories and tickets of workloads that are not listed; return whether all could be removed."""
        inventory = self.inventory
        for key in [key for key, claimed in inventory.claims.items() if claimed not in listed]:
            if self.workload_of(key) is not None and not self._run_of(key).is_prepared():
                self.forget(key)  # Nothing is left of the attempt either.
        left = await asyncio.to_thread(inventory.in_directory) - inventory.known
        return all([await self._remove(workload) for workload in left - listed - {*inventory.claims.values()}])

    async def _remove(self, workload: str) -> bool:
        """Remove a workload that waits, if that is possible at present; the next `adopt` finds it again otherwise."""
        try:
            await self.inventory.remove(workload)
        except (RuntimeFault, OSError) as exc:
            log.warning("a waiting container cannot be removed at present: %s", exc)
            return False
        return True

    async def close(self) -> None:
        """Remove what waits, within a bounded time; the next controller adopts what is left then."""
        if self._publishing is not None:
            self._publishing.cancel()
        inventory = self.inventory
        with suppress(CiError, OSError):  # This term may have been too short to find what another left.
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.adopt(await inventory.runtime.list_workloads())
        removals = [asyncio.create_task(inventory.remove(each)) for each in (*inventory.waiting, *inventory.making)]
        if removals:
            done, late = await asyncio.wait(removals, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for task in done:
                if isinstance(task.exception(), RuntimeFault | OSError):
                    log.warning("a waiting container is left: %s", task.exception())

    # Keeping as many as are wanted.

    async def run(self) -> None:
        """Keep as many waiting as are wanted, until cancelled."""
        with self._wakeups:
            while True:
                try:
                    pause = await self._turn()
                except LeadershipLost:
                    return
                except (CiError, OSError) as exc:
                    log.warning("no containers are made to wait at present: %s", exc)
                    self._not_before = self._writer.uptime() + RETRY_SECONDS
                    pause = RETRY_SECONDS
                await self._wakeups.wait(pause)

    async def _turn(self) -> float:
        """Remove one that is too many or make one that is missing; return after how many seconds to check again."""
        now = self._writer.uptime()
        self._held_back = why_held_back(self._settings, self._disk, self._memory_percent)
        wanted = self._wanted()
        surplus = self._surplus(wanted)  # Before anything is awaited: what is adopted in between is wanted.
        await self._publish(wanted)
        if surplus := surplus or await self._first_dead():
            if surplus in self.inventory.waiting:  # It has not been claimed in between.
                await self.inventory.remove(surplus)
            return 0
        missing = self._missing(wanted)
        if missing is None:
            return CHECK_SECONDS if self.inventory.waiting or self._held_back else LONG_SECONDS
        if self._starting:
            return CHECK_SECONDS
        not_before = max(self._not_before, self._quiet[1] if self._quiet is not None else 0.0)
        if now < not_before:
            return not_before - now
        await self._make(*missing)
        return 0

    async def _make(self, profile: str, plan: ExecutionPlan) -> None:
        try:
            has_profile = await self.inventory.make(profile, plan)
        except (StartFault, ImageFault) as fault:
            log.info("no container of %s can wait for jobs: %s", plan.image, fault)
            has_profile = False
        if not has_profile:
            self._demand.drop(profile)

    def _wanted(self) -> dict[str, int]:
        room = 0 if self._held_back else self._size
        return self._demand.wanted(self._writer.uptime(), room, self._settings.pool_memory)

    def _missing(self, wanted: dict[str, int]) -> tuple[str, ExecutionPlan] | None:
        for profile, number in wanted.items():
            plan = self._demand.plan_of(profile)
            if plan is not None and self.inventory.number(profile) < number:
                return profile, plan
        return None

    def _surplus(self, wanted: dict[str, int]) -> str | None:
        for workload, profile in self.inventory.waiting.items():
            if self.inventory.number(profile) > wanted.get(profile, 0):
                return workload
        return None

    async def _first_dead(self) -> str | None:
        while self._doubted:
            workload = self._doubted.pop()
            if workload in self.inventory.waiting and not await self.inventory.waits_with_services(workload):
                return workload
        return None

    async def _publish(self, wanted: dict[str, int]) -> None:
        if self._is_filled:
            waiting, making = self.inventory.waiting, self.inventory.making
            profiles = describe_profiles(self._demand, waiting=waiting, making=making, wanted=wanted)
            await self._publisher.publish(len(waiting), profiles, self._held_back)
