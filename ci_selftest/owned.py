"""Finds and removes what belongs to a scratch directory besides its files: processes and containers."""

from pathlib import Path

from ci_common.errors import RuntimeUnavailable
from ci_common.settings import Settings
from ci_controller.runtime.docker.engine import Engine
from ci_persistence.sqlite.repository import SQLiteJobRepository
from ci_selftest.faults.workloads import Containers, Processes, Workloads
from ci_selftest.scratch import Scratch, abandoned, kill_processes_of


async def chosen_runtime(wanted: str, settings: Settings) -> str:
    """Return `docker` or `process`; `auto` is docker if an engine answers. Raises RuntimeUnavailable."""
    if wanted == "process":
        return wanted
    engine = Engine(settings.docker_url)
    try:
        await engine.open()
    except RuntimeUnavailable:
        if wanted == "docker":
            raise
        return "process"
    finally:
        await engine.close()
    return "docker"


async def workloads_of(scratch: Scratch, settings: Settings) -> Workloads:
    """Return the workloads of the run in this directory, which has a database. Raises RuntimeUnavailable."""
    if scratch.runtime() == "process":
        return Processes(scratch.data)
    repository = SQLiteJobRepository(scratch.database)
    await repository.open()
    engine = Engine(settings.docker_url)
    try:
        await engine.open()
        installation = await repository.installation()
    except BaseException:
        await engine.close()
        raise
    finally:
        await repository.close()
    return Containers(engine, scratch.data, installation.id)


async def remove_owned(scratch: Scratch, settings: Settings) -> None:
    """Kill and remove every process and container of this directory. Raises RuntimeUnavailable."""
    kill_processes_of(scratch)
    if scratch.database.exists():
        workloads = await workloads_of(scratch, settings)
        try:
            await workloads.clear()
        finally:
            await workloads.close()


async def remove_abandoned(parent: Path, settings: Settings) -> list[str]:
    """Remove what killed self-tests left below `parent`; return their directories. Raises RuntimeUnavailable."""
    with abandoned(parent) as left:
        for scratch in left:
            await remove_owned(scratch, settings)
        return [str(scratch.path) for scratch in left]
