"""Controllers that end at a chosen point, and many such cases at a time."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.helpers.installation import Installation
from tests.helpers.waiting import PATIENCE, eventually
from tests.scenarios import crashing_controller
from tests.scenarios.crashing_controller import At, Into
from tests.scenarios.effects import FILE, PASSED_BY

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([crashing_controller.__name__])


class Doomed:
    """One such controller. A context manager that leaves nothing of it."""

    def __init__(self, installation: Installation, tell: At | Into, *, files: bool = False) -> None:
        self._log = installation.directory / "controller.log"
        # Not that of the fork server, which was started by an earlier test.
        environment = {**os.environ, **installation.environment}
        arguments = (environment, tell, files, self._log)
        self._process: ForkServerProcess = _CONTEXT.Process(target=crashing_controller.run, args=arguments)

    async def __aenter__(self) -> "Doomed":
        # Here and not in a thread: it polls the others, and of two that poll one the second is told 255.
        self._process.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self.end()
        self._process.close()

    async def end(self, *, within: float = PATIENCE) -> int | None:
        """Return the exit status once the process has ended."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            async with asyncio.timeout(within):
                await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        return self._process.exitcode

    def has_ended(self) -> bool:
        return not self._process.is_alive()

    def kill(self) -> None:
        self._process.kill()

    async def stopped(self) -> None:
        """Return once the process has stopped itself."""
        await eventually(lambda: self._state() == "T", "the controller is stopped")

    def go_on(self) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def has_said(self, text: str) -> bool:
        """Tell whether it has logged this."""
        return self._log.exists() and text in self._log.read_text()

    def _state(self) -> str:
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]


def dying(installation: Installation, point: str, act: Callable[[], None] = crashing_controller.kill) -> Doomed:
    """Return a controller that acts at `point`; points of files are told of where `point` is one."""
    return Doomed(installation, At(point, act), files=point.startswith(FILE))


async def death_of(controller: Doomed, point: str, all_is_done: Callable[[], Awaitable[object]]) -> None:
    """Return once `controller` has died at `point`; one that a run may pass by is waited for until `all_is_done`."""
    if point.partition("/")[0] in PASSED_BY:
        ways = {asyncio.ensure_future(controller.end()), asyncio.ensure_future(all_is_done())}
        done, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in others:
            way.cancel()
        await asyncio.gather(*done)
        controller.kill()
    assert await controller.end() == -signal.SIGKILL, "the controller dies at this point"


# Many cases of one test, several at a time: each takes long, and most of that is waiting.

AT_ONCE = 4


async def play_each(points: Iterable[str], case: Callable[[int, str], Awaitable[None]]) -> None:
    """Play `case` with the number and name of each point. Raises ExceptionGroup that names those which failed."""
    turns = asyncio.Semaphore(AT_ONCE)
    failures: list[Exception] = []

    async def play(number: int, point: str) -> None:
        async with turns:
            try:
                await case(number, point)
            except Exception as exc:
                exc.add_note(f"at the point {point}")
                failures.append(exc)

    await asyncio.gather(*(play(number, point) for number, point in enumerate(points)))
    if failures:
        raise ExceptionGroup(f"{len(failures)} points fail", failures)
