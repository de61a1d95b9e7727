"""The pool of one controller's term: workloads that wait at their gates, each for one job and never for a second one.

A workload belongs to whoever its id's places say: to the job whose row names it, be it moved to that job's directory
already or not; else to the pool, as long as its directory is in the pool's and its gate is read. So a controller that
starts takes over what waits, and removes whatever else it finds.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ci_common.disk import Disk
from ci_common.errors import CiError, ImageFault, LeadershipLost, RuntimeFault, StartFault
from ci_common.ids import is_job_id, new_job_id
from ci_common.jobs import Job
from ci_common.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.tasks import in_thread
from ci_common.watch import FileWatcher, Watched
from ci_controller import rundir
from ci_controller.completion import Writer
from ci_controller.pool.demand import Demand
from ci_controller.pool.room import available_percent, obstacle
from ci_controller.pool.state import Notice, describe_kinds
from ci_controller.runtime.protocol import WAITING, Phase, Runtime, Sighting, WorkloadKey, WorkloadSpec

log = logging.getLogger(__name__)

MEMORY_BYTES = 8 * 1024**2
"""What a waiting container is counted as; it was measured to take 6 MB."""
BOOT_SECONDS = 60.0
LOOK_SECONDS = 10.0
"""How often to look, while workloads wait, whether they still should."""
LONG_SECONDS = 3600.0
PAUSE_SECONDS = 0.1
"""How long a job that starts has the machine to itself before its workload is replaced."""
RETRY_SECONDS = 10.0
"""How long to make none after one could not be made."""
LEAVING_SECONDS = 5.0
"""How long a controller that leaves takes to remove what waits."""


class Pool:
    """See the module. `take` is for the scheduler; everything else is for the reconciler."""

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: Runtime,
        data: DataDirectory,
        writer: Writer,
        watcher: FileWatcher,
        memory_percent: Callable[[], float] = available_percent,
    ) -> None:
        """`runtime` is the one that new jobs get; it has to change nothing for a controller that leads no more."""
        self._settings = settings
        self._size = min(settings.pool_size, settings.pool_memory // MEMORY_BYTES)
        self._runtime = runtime
        self._data = data
        self._writer = writer
        self._watcher = watcher
        self._wakeups = watcher.subscribe()
        self._memory_percent = memory_percent
        self._disk = Disk.of(settings)
        self._demand = Demand(most=settings.pool_per_key, forget_after=settings.pool_forget)
        self._waiting: dict[str, str] = {}
        """Kinds by workload, oldest first."""
        self._taking: dict[str, str] = {}
        self._making: dict[str, str] = {}
        self._removing: set[str] = set()
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
        workload = next((each for each, its_kind in self._waiting.items() if its_kind == kind), None)
        if workload is not None:
            self._taking[workload] = self._waiting.pop(workload)
            # At once, so that it shares the commit of the job that takes it.
            self._telling = asyncio.create_task(self._tell_of_taking(), name="telling of the pool")
        return workload

    async def _tell_of_taking(self) -> None:
        with suppress(CiError):  # The next turn tells it, or why it cannot.
            await self._tell(self._wanted())

    def settle(self, workload: str) -> None:
        """A job's row names the workload, or else the next look will show that none does."""
        del self._taking[workload]
        self._wakeups.wake()

    def give_back(self, workload: str) -> None:
        """No job's row names the workload: it waits on."""
        self._waiting[workload] = self._taking.pop(workload)

    def note_load(self, *, busy: bool) -> None:
        """Tell whether some job waits for what the engine does; then nothing is made beside it."""
        if self._busy and not busy:
            self._not_before = max(self._not_before, self._writer.uptime() + PAUSE_SECONDS)
            self._wakeups.wake()
        self._busy = busy

    def lost(self, workload: str) -> None:
        """Something has happened to the workload; look whether it still waits."""
        if workload in self._waiting:
            self._doubted.add(workload)
            self._wakeups.wake()

    async def sort(self, sightings: list[Sighting]) -> tuple[list[Job], list[Sighting]]:
        """Say whose the workloads are that were created to wait: return the jobs that hold some, and those of nobody.

        What waits is taken over, and what was to wait and cannot any more is removed. Raises RuntimeUnavailable.
        """
        ours = self._waiting.keys() | self._taking.keys() | self._making.keys() | self._removing
        found = {sighting.key.job_id: sighting for sighting in sightings}
        unknown = found.keys() - ours
        # The rows after the engine: what jobs had taken by then, they name by now.
        held = await self._writer.repository.get_holders(unknown) if unknown else {}
        strangers: list[Sighting] = []
        for workload in sorted(unknown - held.keys()):
            if not self._data.waiting_run(workload).path.is_dir():
                strangers.append(found[workload])
            elif not await self._take_over(found[workload]):
                await self._remove(workload)
        return list(held.values()), strangers

    async def _take_over(self, sighting: Sighting) -> bool:
        workload = sighting.key.job_id
        if self._size == 0 or sighting.kind is None or not await self._waits(workload):
            return False
        self._waiting[workload] = sighting.kind
        self._wakeups.wake()
        alike = sum(kind == sighting.kind for kind in self._waiting.values())
        self._demand.found(sighting.kind, alike, self._writer.uptime())
        return True

    async def _waits(self, workload: str) -> bool:
        """Tell whether the workload is at its gate. It is not read for a moment after somebody has looked there."""
        run = self._data.waiting_run(workload)
        if not run.is_waiting() or run.is_started():
            return False
        return run.is_gate_read() or (await self._runtime.look(_key(workload))).phase is Phase.RUNNING

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
            if surplus in self._waiting:  # No job has taken it meanwhile.
                await self._remove(surplus)
            return 0
        kind = next(
            (kind for kind, number in wanted.items() if self._number(kind) < number and self._demand.plan_of(kind)),
            None,
        )
        if kind is None:
            return LOOK_SECONDS if self._waiting or self._held_back else LONG_SECONDS
        if self._busy:
            return LOOK_SECONDS
        if now < self._not_before:
            return self._not_before - now
        await self._make(kind)
        return 0

    def _wanted(self) -> dict[str, int]:
        return self._demand.wanted(self._writer.uptime(), 0 if self._held_back else self._size)

    def _number(self, kind: str) -> int:
        return sum(each == kind for each in (*self._waiting.values(), *self._making.values()))

    def _surplus(self, wanted: dict[str, int]) -> str | None:
        for workload, kind in self._waiting.items():
            if self._number(kind) > wanted.get(kind, 0):
                return workload
        return None

    async def _first_dead(self) -> str | None:
        while self._doubted:
            workload = self._doubted.pop()
            if workload in self._waiting and not await self._waits(workload):
                return workload
        return None

    async def _make(self, kind: str) -> None:
        plan, workload = self._demand.plan_of(kind), new_job_id()
        assert plan is not None, "what is made was used"
        key, run = _key(workload), self._data.waiting_run(workload)
        self._making[workload] = kind
        try:
            self._data.pool.mkdir(mode=0o700, exist_ok=True)
            await in_thread(rundir.prepare_gate, run, has_console=self._runtime.has_console)
            await self._runtime.create(WorkloadSpec(key, run, plan, kind))
            await self._runtime.start(key)
            await self._until_waiting(workload)
            # The image's name may have come to mean another one meanwhile.
            if await self._runtime.kind_of(plan) != kind:
                self._demand.drop(kind)
            elif await self._waits(workload):
                self._waiting[workload] = kind
        except (StartFault, ImageFault) as fault:
            log.info("no container of %s can wait for jobs: %s", plan.image, fault)
            self._demand.drop(kind)
        except (CiError, OSError):
            del self._making[workload]  # The next look shows what has come of it.
            raise
        del self._making[workload]
        if workload not in self._waiting:
            await self._remove(workload)

    async def _until_waiting(self, workload: str) -> None:
        run = self._data.waiting_run(workload)
        with self._watcher.subscribe((run.path, Watched.ENTRIES)) as wakeups, suppress(TimeoutError):
            async with asyncio.timeout(BOOT_SECONDS):
                while not run.is_waiting():
                    await wakeups.wait(BOOT_SECONDS)

    async def _remove(self, workload: str) -> None:
        """Remove a workload of the pool's that no job has taken, whole."""
        self._waiting.pop(workload, None)
        self._removing.add(workload)
        try:
            await self._runtime.remove(_key(workload))
            await self._runtime.reclaim(self._data.waiting_run(workload).path, None)
        finally:
            self._removing.discard(workload)

    async def _tell(self, wanted: dict[str, int]) -> None:
        kinds = describe_kinds(self._demand, waiting=self._waiting, making=self._making, wanted=wanted)
        await self._notice.tell(len(self._waiting), kinds, self._held_back)

    async def sweep(self) -> None:
        """Remove the directories of workloads that are gone. For whoever begins to lead, after the first `sort`."""
        names = await asyncio.to_thread(_names_in, self._data.pool)
        left = names - self._waiting.keys() - self._taking.keys() - self._making.keys()
        for workload in left - (await self._writer.repository.get_holders(left)).keys():
            await self._remove(workload)

    async def close(self) -> None:
        """Remove what waits, within a bounded time; what is left then the next controller takes over."""
        if self._telling is not None:
            self._telling.cancel()
        with suppress(CiError, OSError):  # This term may have been too short to find what another left.
            async with asyncio.timeout(LEAVING_SECONDS):
                await self.sort([each for each in await self._runtime.list_workloads() if each.key.attempt == WAITING])
        waiting = [asyncio.create_task(self._remove(workload)) for workload in (*self._waiting, *self._making)]
        if waiting:
            done, late = await asyncio.wait(waiting, timeout=LEAVING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for task in done:
                if isinstance(task.exception(), RuntimeFault | OSError):
                    log.warning("a waiting container is left: %s", task.exception())


def _key(workload: str) -> WorkloadKey:
    return WorkloadKey(workload, WAITING)


def _names_in(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir() if is_job_id(entry.name)}
    except FileNotFoundError:
        return set()
