"""Injects the faults of a schedule into the parts, clients, jobs and database of one run."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ci_common.runtime_faults import RuntimeUnavailable
from ci_selftest.faults.database import DatabaseFaults
from ci_selftest.faults.workloads import Workloads
from ci_selftest.installation import Installation
from ci_selftest.jobs.client_process import ClientProcess
from ci_selftest.parts import Part
from ci_selftest.schedule import Fault, PlannedFault

T = TypeVar("T")
_TARGET_WITHIN_SECONDS = 20.0
_REST_SECONDS = 15.0
"""How long the installation may take to complete a job before a burst of faults."""
_LONGER_SECONDS = 120.0
"""How much longer than requested a run may go on, so that every fault is injected."""
_LOOK_SECONDS = 0.05
_DOWN_WHILE_LOCKED_SECONDS = 0.3
_LONGER_ON_SERVER_SECONDS = 7.0
"""The product waits so much longer for a lock there."""
_LONGEST_START_SECONDS = 1.5
"""The longest life of a controller that is killed while it starts."""


class FaultInjector:
    """Injects faults into one installation."""

    def __init__(
        self,
        installation: Installation,
        workloads: Workloads,
        clients: Mapping[int, ClientProcess],
        database: DatabaseFaults | None,
        *,
        on_hit: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        """`clients` are the running client processes, by number; `database` is None for a file.

        `on_hit` is called with the id of each job whose workload is about to be hit, `note` with every action.
        """
        self.done: Counter[Fault] = Counter()
        self.missed: Counter[Fault] = Counter()
        """Faults that found no target."""
        self._installation = installation
        self._environment = installation.client_environment
        self._clients = clients
        self._on_hit = on_hit
        self._note = note
        kill, terminate = partial(self._down, signal.SIGKILL), partial(self._down, signal.SIGTERM)
        parts, one = installation, _nth
        self._actions: dict[Fault, Callable[[PlannedFault], Awaitable[bool]]] = {
            Fault.KILL_API: lambda planned: kill(planned, [one(parts.apis, planned)]),
            Fault.KILL_LEADER: lambda planned: kill(planned, [parts.leader()]),
            Fault.KILL_STANDBY: lambda planned: kill(planned, [parts.standby()]),
            Fault.KILL_TWICE: lambda planned: self._kill_while_starting(planned, one(parts.controllers, planned)),
            Fault.KILL_ALL: lambda planned: kill(planned, parts.parts),
            Fault.STOP_API: lambda planned: terminate(planned, [one(parts.apis, planned)]),
            Fault.STOP_LEADER: lambda planned: terminate(planned, [parts.leader()]),
            Fault.STOP_ALL: lambda planned: terminate(planned, parts.parts),
            Fault.PAUSE_API: lambda planned: self._pause(planned, [one(parts.apis, planned)]),
            Fault.PAUSE_LEADER: lambda planned: self._pause(planned, [parts.leader()]),
            Fault.PAUSE_STANDBY: lambda planned: self._pause(planned, [parts.standby()]),
            Fault.PAUSE_CONTROLLERS: lambda planned: self._pause(planned, parts.controllers),
            Fault.KILL_CLIENT: self._kill_client,
            Fault.KILL_JOB: lambda planned: self._hit_job(planned, workloads.running, workloads.kill),
            Fault.REMOVE_JOB: lambda planned: self._hit_job(planned, workloads.running, workloads.remove),
            Fault.LOCK_DATABASE: lambda planned: self._lock_database(planned, []),
            Fault.LOCK_AND_KILL: lambda planned: self._lock_database(planned, parts.parts),
        }
        if workloads.have_services:
            self._actions |= {
                Fault.KILL_SERVICE: lambda planned: self._hit_job(planned, workloads.served, workloads.kill_service),
                Fault.KILL_SETUP: lambda planned: self._kill_setup(planned, workloads),
            }
        self._has_server = database is not None
        if database is not None:
            self._actions |= self._of_database(database)
        self.faults = tuple(self._actions)
        """What there is to inject."""

    def _of_database(self, database: DatabaseFaults) -> dict[Fault, Callable[[PlannedFault], Awaitable[bool]]]:
        parts = self._installation
        on = self._on_database

        async def lose(planned: PlannedFault) -> bool:
            part = _nth(parts.parts, planned)
            return await on(planned, part, database.lose_commit(part.name, is_carried_out=planned.choice % 3 != 0))

        async def on_api(planned: PlannedFault, act: Callable[[str, float], Awaitable[bool]]) -> bool:
            part = _nth(parts.apis, planned)
            return await on(planned, part, act(part.name, planned.held))

        async def on_leader(planned: PlannedFault, act: Callable[[str, float], Awaitable[bool]]) -> bool:
            part = parts.leader()
            return await on(planned, part, act(part.name, planned.held))

        faults: dict[Fault, Callable[[PlannedFault], Awaitable[bool]]] = {
            Fault.CUT_API: lambda planned: on_api(planned, database.cut),
            Fault.CUT_LEADER: lambda planned: on_leader(planned, database.cut),
            Fault.HOLD_API: lambda planned: on_api(planned, database.hold),
            Fault.HOLD_LEADER: lambda planned: on_leader(planned, database.hold),
            Fault.LOSE_COMMIT: lose,
            Fault.END_SESSIONS: lambda planned: on(planned, None, database.end_sessions()),
        }
        if database.has_own_server:
            end = database.end_server
            faults |= {
                Fault.KILL_SERVER: lambda planned: on(planned, None, end("kill", planned.held)),
                Fault.ABORT_SERVER: lambda planned: on(planned, None, end("immediate", planned.held)),
                Fault.RESTART_SERVER: lambda planned: on(planned, None, end("fast", planned.held)),
            }
        return faults

    async def _on_database(self, planned: PlannedFault, part: Part | None, act: Awaitable[bool]) -> bool:
        self._note(f"{planned.fault} for {planned.held} s: {'the database' if part is None else part.name}")
        return await act

    async def inject(self, schedule: Iterator[PlannedFault], seconds: float, progress: Callable[[], int]) -> None:
        """Inject faults for `seconds`, and for a bounded time longer until every kind has been injected.

        `progress` returns a number that grows as jobs complete. On return the last fault is over, and all parts are
        running.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        async with asyncio.TaskGroup() as group:
            for planned in schedule:
                late = loop.time() - end
                if late >= 0 and (len(self.done) == len(self.faults) or late >= _LONGER_SECONDS):
                    return
                if planned.is_first:
                    await _grows(progress)
                await asyncio.sleep(planned.after)
                group.create_task(self._inject(planned), name=planned.fault)

    async def _inject(self, planned: PlannedFault) -> None:
        if await self._actions[planned.fault](planned):
            self.done[planned.fault] += 1
        else:
            self.missed[planned.fault] += 1
            self._note(f"{planned.fault}: there was nothing to hit")

    async def _down(self, number: signal.Signals, planned: PlannedFault, parts: Sequence[Part]) -> bool:
        async with _turns(parts):
            self._note_on(planned, parts)
            await asyncio.gather(*(part.end(number) for part in parts))
            await asyncio.sleep(planned.held)
            await asyncio.gather(*(part.start() for part in parts))
        return True

    async def _kill_while_starting(self, planned: PlannedFault, part: Part) -> bool:
        async with _turns([part]):
            self._note_on(planned, [part])
            for _ in range(2):
                await part.end(signal.SIGKILL)
                await part.start()
                await asyncio.sleep(planned.choice % 100 / 100 * _LONGEST_START_SECONDS)
            await part.end(signal.SIGKILL)
            await part.start()
        return True

    async def _pause(self, planned: PlannedFault, parts: Sequence[Part]) -> bool:
        async with _turns(parts):
            self._note_on(planned, parts)
            await asyncio.gather(*(part.pause(planned.held) for part in parts))
        return True

    async def _kill_client(self, planned: PlannedFault) -> bool:
        async def alive() -> list[int]:
            return sorted(number for number, client in self._clients.items() if client.is_alive)

        number = await _target(alive, planned)
        if number is None:
            return False
        self._note(f"{planned.fault} of job number {number}")
        self._clients[number].kill()
        return True

    async def _hit_job(
        self,
        planned: PlannedFault,
        running: Callable[[], Awaitable[list[str]]],
        hit: Callable[[str], Awaitable[bool]],
    ) -> bool:
        job_id = await _target(running, planned)
        if job_id is None:
            return False
        self._note(f"{planned.fault}: {job_id}")
        self._on_hit(job_id)
        return await hit(job_id)

    async def _kill_setup(self, planned: PlannedFault, workloads: Workloads) -> bool:
        container = await _target(workloads.setups, planned)
        if container is None:
            return False
        self._note(f"{planned.fault}: {container}")
        return await workloads.kill_container(container)

    async def _lock_database(self, planned: PlannedFault, killed: Sequence[Part]) -> bool:
        """Lock the database. The parts in `killed` are killed and started again while it is locked."""
        held = planned.held + (_LONGER_ON_SERVER_SECONDS if self._has_server else 0)
        command = [sys.executable, "-m", "ci_selftest.faults.lock_database", str(held)]
        # Where the server is killed, the program ends with a stack trace.
        locker = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=self._environment
        )
        try:
            assert locker.stdout is not None, "a pipe"
            await locker.stdout.readline()
            self._note(f"{planned.fault} for {held:g} s")
            if killed:
                await self._down(signal.SIGKILL, replace(planned, held=_DOWN_WHILE_LOCKED_SECONDS), killed)
            return await locker.wait() == 0
        finally:
            if locker.returncode is None:
                locker.kill()
                await locker.wait()

    def _note_on(self, planned: PlannedFault, parts: Sequence[Part]) -> None:
        self._note(f"{planned.fault} for {planned.held} s: {', '.join(part.name for part in parts)}")


@asynccontextmanager
async def _turns(parts: Sequence[Part]) -> AsyncIterator[None]:
    """Hold the turns of these parts. All callers take them in the same order."""
    async with AsyncExitStack() as stack:
        for part in parts:
            await stack.enter_async_context(part.turn)
        yield


async def _grows(progress: Callable[[], int]) -> None:
    """Wait until the number has grown, for a bounded time."""
    loop = asyncio.get_running_loop()
    before, deadline = progress(), loop.time() + _REST_SECONDS
    while True:
        if progress() > before or loop.time() > deadline:
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _target(candidates: Callable[[], Awaitable[list[T]]], planned: PlannedFault) -> T | None:
    """Return one of the candidates, waiting until there are some; None if there are none in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _TARGET_WITHIN_SECONDS
    while loop.time() < deadline:
        try:
            if found := await candidates():
                return _nth(found, planned)
        except RuntimeUnavailable:
            pass  # The engine is busy.
        await asyncio.sleep(_LOOK_SECONDS)
    return None


def _nth(candidates: Sequence[T], planned: PlannedFault) -> T:
    return candidates[planned.choice % len(candidates)]
