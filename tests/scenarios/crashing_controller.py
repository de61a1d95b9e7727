"""A controller that ends, or is stopped, at one chosen point: `python crashing_controller.py POINT`.

Points are those of `tests.scenarios.effects`, as in `create/1/after`. Settings come from the environment, as for any
controller.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ci_common.run_directory import tickets
from ci_common.settings import Settings
from ci_controller.main import assembled, control
from ci_controller.run_directory import preparation, workspace
from ci_persistence.open import open_storage
from tests.scenarios.effects import Effects, Tell


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def cancel_and_kill() -> None:
    """Ask for the end of every job, as the API does, and then die before anything can be done about it."""
    # In another thread, since this one is inside of an event loop, which is to go no further.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, _cancel_all()).result()
    kill()


async def _cancel_all() -> None:
    async with open_storage(Settings.from_env().database) as storage:
        for jobs in await storage.queue.unfinished():
            for job in jobs:
                await storage.jobs.request_cancel(job.id, job.submit_time)


@dataclass(frozen=True)
class At:
    """Acts when it is told of `point`."""

    point: str
    act: Callable[[], None]

    def __call__(self, reached: str) -> None:
        if reached == self.point:
            self.act()


@dataclass(frozen=True)
class Into:
    """Appends the names of points to a file, one in a line."""

    path: Path

    def __call__(self, reached: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{reached}\n")


async def main(tell: Tell, *, files: bool = False) -> None:
    """Run a controller that tells of its effects; with `files`, also of every change to its data directory."""
    effects = Effects(tell)
    effects.of_module(preparation)
    effects.of_module(workspace)
    effects.of_module(tickets)
    settings = Settings.from_env()
    async with assembled(settings) as parts:
        if files:
            effects.of_files(settings.data_path)
        # What is made of a job's services is made within one call of the runtime.
        docker: Any = parts.runtimes["docker"]
        docker._services = docker._containers._services = effects.of(docker._services)
        # So is a prepared environment.
        docker._environments = effects.of(docker._environments)
        runtimes = {name: effects.of(runtime) for name, runtime in parts.runtimes.items()}
        await control(replace(parts, runtimes=runtimes, storage=effects.of_storage(parts.storage)))


def run(environment: Mapping[str, str], tell: Tell, files: bool, log: Path) -> None:
    """Be such a controller in a process that was forked for it; what it says goes into `log`."""
    os.environ.clear()
    os.environ.update(environment)
    logging.basicConfig(filename=log, level=logging.INFO, force=True)
    asyncio.run(main(tell, files=files))


if __name__ == "__main__":
    asyncio.run(main(At(sys.argv[1], kill)))
