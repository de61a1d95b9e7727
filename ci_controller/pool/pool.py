"""The pool of one controller's term: workloads that wait at their gates, each for one job and never for a second one.

How many of which kind wait, and which job gets one. What a term finds and what it leaves is `Handover`'s.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from ci_common.errors import CiError, ImageFault, LeadershipLost, StartFault
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Disk
from ci_common.system.watch import FileWatcher
from ci_controller.job_writer import JobWriter
from ci_controller.pool.capacity import available_percent, obstacle
from ci_controller.pool.demand import Demand
from ci_controller.pool.inventory import Stock
from ci_controller.pool.state import Notice, describe_kinds
from ci_controller.runtime.guarded import Check
from ci_controller.runtime.protocol import Runtime

log = logging.getLogger(__name__)

MEMORY_BYTES = 8 * 1024**2
"""What a waiting container is counted as; it was measured to take 6 MB."""
LOOK_SECONDS = 10.0
"""How often to look, while workloads wait, whether they still should."""
LONG_SECONDS = 3600.0
PAUSE_SECONDS = 0.1
"""How long a job that starts has the machine to itself before its workload is replaced."""
RETRY_SECONDS = 10.0
"""How long to make none after one could not be made."""


class Pool:
    """See the module. `take` and what follows on it are for the scheduler; the rest is for reconciler and handover."""

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: Runtime,
        data: DataDirectory,
        writer: JobWriter,
        watcher: FileWatcher,
        check: Check,
        memory_percent: Callable[[], float] = available_percent,
    ) -> None:
        """`runtime` is the one that new jobs get; it has to change nothing for a controller that leads no more, which
        `check` tells by LeadershipLost.
        """
        self._settings = settings
        self._size = min(settings.pool_size, settings.pool_memory // MEMORY_BYTES)
        self._runtime = runtime
        self.stock = Stock(runtime, data, watcher, check)
        self._writer = writer
        self._wakeups = watcher.subscribe()
        self._memory_percent = memory_percent
        self._disk = Disk.of(settings)
        self._demand = Demand(most=settings.pool_per_key, forget_after=settings.pool_forget)
        self._doubted: set[str] = set()
        self._held_back: str | None = None
        self._telling: asyncio.Task[None] | None = None
        self._busy = False
        self._not_before = 0.0
        self._notice = Notice(writer, size=self._size, per_key=settings.pool_per_key)

    async def kind_of(self, plan: ExecutionPlan) -> str | None:
        """Return the kind of workload that a job of this plan can take; None where none can wait for it.

        Where there is a kind, the image is there. Raises RuntimeUnavailable.
        """
        return await self._runtime.kind_of(plan) if self._size else None

    def take(self, kind: str, plan: ExecutionPlan) -> str | None:
        """Return a workload for a job of this plan that starts now, or None where none waits.

        Whoever took it says next by `settle` that the row of the job names it, or that nobody can know, or by
        `give_back` that it does not and never will.
        """
        now = self._writer.uptime()
        self._demand.used(kind, plan, now, self._writer.clock())
        self._not_before = max(self._not_before, now + PAUSE_SECONDS)
        workload = self.stock.oldest(kind)
        if workload is not None:
            self.stock.taking[workload] = self.stock.waiting.pop(workload)
            # At once, so that it shares the commit of the job that takes it.
            self._telling = asyncio.create_task(self._tell_of_taking(), name="telling of the pool")
        return workload

    async def _tell_of_taking(self) -> None:
        with suppress(CiError):  # The next turn tells it, or why it cannot.
            await self._tell(self._wanted())

    def settle(self, workload: str) -> None:
        """A job's row names the workload, or else the next look will show that none does."""
        del self.stock.taking[workload]
        self._wakeups.wake()

    def give_back(self, workload: str) -> None:
        """No job's row names the workload: it waits on."""
        self.stock.waiting[workload] = self.stock.taking.pop(workload)

    def note_load(self, *, busy: bool) -> None:
        """Tell whether some job waits for what the engine does; then nothing is made beside it."""
        if self._busy and not busy:
            self._not_before = max(self._not_before, self._writer.uptime() + PAUSE_SECONDS)
            self._wakeups.wake()
        self._busy = busy

    def lost(self, workload: str) -> None:
        """Something has happened to the workload; look whether it still waits."""
        if workload in self.stock.waiting:
            self._doubted.add(workload)
            self._wakeups.wake()

    def found(self, workload: str, kind: str) -> None:
        """A workload of before this term still waits: it is ours now."""
        self.stock.waiting[workload] = kind
        alike = sum(each == kind for each in self.stock.waiting.values())
        self._demand.found(kind, alike, self._writer.uptime())
        self._wakeups.wake()

    @property
    def has_room(self) -> bool:
        """Whether any may wait at all."""
        return self._size > 0

    def close(self) -> None:
        """Tell nobody any more."""
        if self._telling is not None:
            self._telling.cancel()

    async def run(self) -> None:
        """Keep as many waiting as are wanted, for ever."""
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
        """Remove one that is too many or make one that is missing; return after how many seconds to look again."""
        now = self._writer.uptime()
        self._held_back = obstacle(self._settings, self._disk, self._memory_percent)
        wanted = self._wanted()
        surplus = self._surplus(wanted)  # Before anything is waited for: what is taken over meanwhile is wanted.
        await self._tell(wanted)
        if surplus := surplus or await self._first_dead():
            if surplus in self.stock.waiting:  # No job has taken it meanwhile.
                await self.stock.remove(surplus)
            return 0
        missing = self._missing(wanted)
        if missing is None:
            return LOOK_SECONDS if self.stock.waiting or self._held_back else LONG_SECONDS
        if self._busy:
            return LOOK_SECONDS
        if now < self._not_before:
            return self._not_before - now
        await self._make(*missing)
        return 0

    async def _make(self, kind: str, plan: ExecutionPlan) -> None:
        try:
            is_kind = await self.stock.make(kind, plan)
        except (StartFault, ImageFault) as fault:
            log.info("no container of %s can wait for jobs: %s", plan.image, fault)
            is_kind = False
        if not is_kind:
            self._demand.drop(kind)

    def _wanted(self) -> dict[str, int]:
        return self._demand.wanted(self._writer.uptime(), 0 if self._held_back else self._size)

    def _missing(self, wanted: dict[str, int]) -> tuple[str, ExecutionPlan] | None:
        for kind, number in wanted.items():
            plan = self._demand.plan_of(kind)
            if plan is not None and self.stock.number(kind) < number:
                return kind, plan
        return None

    def _surplus(self, wanted: dict[str, int]) -> str | None:
        for workload, kind in self.stock.waiting.items():
            if self.stock.number(kind) > wanted.get(kind, 0):
                return workload
        return None

    async def _first_dead(self) -> str | None:
        while self._doubted:
            workload = self._doubted.pop()
            if workload in self.stock.waiting and not await self.stock.waits(workload):
                return workload
        return None

    async def _tell(self, wanted: dict[str, int]) -> None:
        stock = self.stock
        kinds = describe_kinds(self._demand, waiting=stock.waiting, making=stock.making, wanted=wanted)
        await self._notice.tell(len(self.stock.waiting), kinds, self._held_back)
