"""Sends SIGTERM to the processes of a job in its container, all but the first, which is the script."""

import logging

from ci_common.run_directory.layout import RunDirectory
from ci_controller.run_directory.preparation import send_stop
from ci_controller.runtime.docker.engine import Engine, Refusal

log = logging.getLogger(__name__)

_TO_ALL = ["/bin/sh", "-c", "kill -TERM -1"]


async def terminate(engine: Engine, name: str, run: RunDirectory) -> None:
    """Have the job of container `name` told to stop, by what waits for that in there or, if it has gone, by the engine.

    Raises RuntimeUnavailable.
    """
    if send_stop(run):
        return
    try:
        async with engine.call() as docker:
            shell = await docker.containers.container(name).exec(_TO_ALL, user="0")
        async with engine.call():
            await shell.start(detach=True)
    except Refusal as exc:  # As where its limit allows no further process. It is killed after its grace.
        log.warning("the processes of container %s get no SIGTERM: %s", name, exc)
