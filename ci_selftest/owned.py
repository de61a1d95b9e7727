"""Finds and removes what belongs to a scratch directory besides its files: processes and containers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ci_common.configuration.database_address import DatabaseAddress, DatabaseUrl
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.settings import Settings
from ci_controller.runtime.docker.engine import Engine
from ci_persistence.open import open_storage
from ci_persistence.scratch import scratch_schema
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


@asynccontextmanager
async def database_of(scratch: Scratch, server: DatabaseUrl | None) -> AsyncIterator[DatabaseAddress]:
    """Yield where the run's database is: a file, or a schema in `server` that is dropped at the end."""
    if server is None:
        yield DatabaseAddress(path=scratch.database)
        return
    async with scratch_schema(server, scratch.schema) as address:
        yield address


async def workloads_of(scratch: Scratch, settings: Settings, database: DatabaseAddress) -> Workloads:
    """Return the workloads of the run in this directory, which has a database. Raises RuntimeUnavailable."""
    if scratch.runtime() == "process":
        return Processes(scratch.data)
    engine = Engine(settings.docker_url)
    try:
        await engine.open()
        installation_id = await _installation_id(scratch, database)
    except BaseException:
        await engine.close()
        raise
    return Containers(engine, scratch.data, installation_id)


async def _installation_id(scratch: Scratch, database: DatabaseAddress) -> str:
    if not scratch.installation_id.exists():
        async with open_storage(database) as storage:
            scratch.installation_id.write_text((await storage.installations.get()).id)
    return scratch.installation_id.read_text()


async def remove_owned(scratch: Scratch, settings: Settings, database: DatabaseAddress) -> None:
    """Kill and remove all processes of this directory, and all that it has in an engine. Raises RuntimeUnavailable."""
    kill_processes_of(scratch)
    if database.path is None or database.path.exists() or scratch.installation_id.exists():
        workloads = await workloads_of(scratch, settings, database)
        try:
            await workloads.clear()
        finally:
            await workloads.close()


async def remove_abandoned(parent: Path, settings: Settings) -> list[str]:
    """Remove what killed self-tests left below `parent`; return their directories. Raises RuntimeUnavailable."""
    with abandoned(parent) as left:
        for scratch in left:
            await remove_owned(scratch, settings, DatabaseAddress(path=scratch.database))
        return [str(scratch.path) for scratch in left]
