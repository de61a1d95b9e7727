"""Sends SIGTERM to the processes of a job in its container, all but the first, which is the script."""

import asyncio
import logging
import os

from ci_common.run_directory.layout import RunDirectory
from ci_controller.run_directory.preparation import send_stop
from ci_controller.runtime.docker.engine import Engine, Refusal

log = logging.getLogger(__name__)

SIGNAL_SECONDS = 2.0
"""How long what waits in the container may take to signal before the engine does it."""

_TO_ALL = ["/bin/sh", "-c", "kill -TERM -1"]


async def terminate(engine: Engine, name: str, run: RunDirectory) -> None:
    """Have the job of container `name` told to stop, by what waits for that in there or, if it has gone, by the engine.

    Raises RuntimeUnavailable.
    """
    if send_stop(run) and await _is_signalled(run):
        return
    try:
        async with engine.call() as docker:
            shell = await docker.containers.container(name).exec(_TO_ALL, user="0")
        async with engine.call():
            await shell.start(detach=True)
    except Refusal as exc:  # As where its limit allows no further process. It is killed after its grace.
        log.warning("the processes of container %s get no SIGTERM: %s", name, exc)


async def _is_signalled(run: RunDirectory) -> bool:
    """Return whether the job's processes have been signalled, once that is known."""
    deadline = asyncio.get_running_loop().time() + SIGNAL_SECONDS
    delay = 0.001  # Mostly it takes less than an inotify watch costs.
    while not (signalled := os.path.lexists(run.signalled)) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(delay)
        delay = min(2 * delay, 0.05)
    return signalled
