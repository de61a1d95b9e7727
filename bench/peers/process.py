"""A peer that runs: its processes, and the driver that submits to it."""

import asyncio
import contextlib
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSIDE = Path(__file__).parent / "inside"
READY_SECONDS = 120.0
TASK_SECONDS = 120.0
STOP_SECONDS = 15.0
_MEGABYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Task:
    """What everybody is given to do."""

    image: str
    command: list[str]
    project: Path | None = None
    """A directory to run it in."""
    told: str = ""
    """What its output holds where all went well."""


class Peer:
    """The processes of one peer. Use `started`."""

    def __init__(self, place: Path, environment: Mapping[str, str]) -> None:
        """`place` is a directory of its own, which gets what the processes write."""
        self.place = place
        self._environment = {**os.environ, **environment}
        self._processes: list[Process] = []
        self._driver: Process | None = None

    async def prepare(self, *command: str) -> None:
        """Run a program to its end. Raises RuntimeError unless that is 0."""
        process = await self._start(command, "prepare")
        if await asyncio.wait_for(process.wait(), READY_SECONDS):
            raise RuntimeError(f"{' '.join(command)} failed: {self._written('prepare')}")

    async def launch(self, *command: str) -> None:
        """Start a program that goes on until `close`."""
        self._processes.append(await self._start(command, f"process{len(self._processes)}"))

    async def until(self, look: Callable[[], Awaitable[bool]], what: str) -> None:
        """Return once `look` says so. Raises RuntimeError where a process ends before, or it takes too long."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await look():
                    if any(process.returncode is not None for process in self._processes):
                        raise RuntimeError(f"before {what}, a process has ended: {self._all_written()}")
                    await asyncio.sleep(0.05)
        except TimeoutError as exc:
            raise RuntimeError(f"{what} took over {READY_SECONDS:g} s: {self._all_written()}") from exc

    async def drive(self, *command: str) -> None:
        """Start the driver, and return once it is ready."""
        errors = (self.place / "driver").open("wb")
        with errors:
            self._driver = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=errors, env=self._environment, cwd=self.place, limit=_MEGABYTE
            )
        await self._answer(READY_SECONDS)

    async def run(self, task: Task) -> float:
        """Submit a task; return after how many seconds its verdict was there. Raises RuntimeError where that is bad."""
        assert self._driver is not None
        assert self._driver.stdin is not None
        project = None if task.project is None else str(task.project)
        line = json.dumps({"image": task.image, "command": task.command, "project": project})
        self._driver.stdin.write(line.encode() + b"\n")
        answer = await self._answer(TASK_SECONDS)
        if answer["code"] or (answer["output"] and task.told not in answer["output"]):
            raise RuntimeError(f"the task ended badly: {answer}; {self._all_written()}")
        return float(answer["seconds"])

    async def close(self) -> None:
        """End all processes, the last one first."""
        driver = [] if self._driver is None else [self._driver]
        for process in [*driver, *reversed(self._processes)]:
            await _end(process)

    async def _start(self, command: tuple[str, ...], name: str) -> Process:
        with (self.place / name).open("wb") as output:
            return await asyncio.create_subprocess_exec(
                *command, stdout=output, stderr=output, env=self._environment, cwd=self.place, start_new_session=True
            )

    async def _answer(self, seconds: float) -> dict[str, Any]:
        """Return the driver's next answer; lines that are none, as libraries write them, are passed over."""
        assert self._driver is not None
        assert self._driver.stdout is not None
        async with asyncio.timeout(seconds):
            while line := await self._driver.stdout.readline():
                with contextlib.suppress(ValueError):
                    return dict(json.loads(line))
        raise RuntimeError(f"the driver has ended: {self._all_written()}")

    def _all_written(self) -> str:
        names = ["driver", *(f"process{number}" for number in range(len(self._processes)))]
        return "; ".join(f"{name}: {self._written(name)}" for name in names)

    def _written(self, name: str) -> str:
        return (self.place / name).read_text(errors="replace")[-1500:].strip()


@asynccontextmanager
async def started(place: Path, environment: Mapping[str, str]) -> AsyncIterator[Peer]:
    """Give a peer without processes, and end those that it has got."""
    place.mkdir()
    peer = Peer(place, environment)
    try:
        yield peer
    finally:
        await peer.close()


async def _end(process: Process) -> None:
    """End a process by SIGTERM, or with all of its session by SIGKILL."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        await process.wait()
