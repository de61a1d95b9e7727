"""Puts a controller together: repository, runtimes, leadership, loop. Every composition root begins here."""

import asyncio
import logging
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ci_common.errors import RuntimeUnavailable, StaleWrite, Unavailable
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_common.system.tasks import background_task
from ci_common.system.watch import FileWatcher
from ci_common.times import Clock, Uptime, uptime, utc_now
from ci_controller.job_writer import JobWriter, Timelines
from ci_controller.leadership import Leadership, lead_forever
from ci_controller.ownership import claim_database
from ci_controller.plan import Jitter
from ci_controller.reconciler import Reconciler
from ci_controller.runtime.docker import DockerRuntime
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import LocalRuntime
from ci_persistence.sqlite.repository import open_installation
from ci_persistence.storage import Storage

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How long to wait before leading again after a term could not begin."""


@dataclass(slots=True)
class Parts:
    """What a controller is made of."""

    settings: Settings
    data: DataDirectory
    repository: Storage
    runtimes: dict[str, LocalRuntime]
    watcher: FileWatcher
    clock: Clock = utc_now
    uptime: Uptime = uptime
    jitter: Jitter = random.random


@asynccontextmanager
async def assembled(settings: Settings, repository: Storage | None = None) -> AsyncIterator[Parts]:
    """Yield the parts of a controller, connected; they are let go of on the way out.

    A `repository` that is open already is used and left open. Raises Unavailable, SettingsError, also where the
    database belongs to another data directory.
    """
    data = DataDirectory(settings.data_path)
    async with AsyncExitStack() as stack:
        if repository is None:
            repository = await stack.enter_async_context(open_installation(settings))
        installation = await repository.installation()
        watcher = await stack.enter_async_context(FileWatcher())
        runtimes: dict[str, LocalRuntime] = {
            "docker": DockerRuntime(settings, installation.id, data),
            "process": ProcessRuntime(settings, data),
        }
        for runtime in runtimes.values():
            stack.push_async_callback(runtime.close)
        yield Parts(settings, data, repository, runtimes, watcher)


async def control(parts: Parts) -> None:
    """Lead, or stand by to lead, until cancelled; which touches no job."""
    settings = parts.settings
    chosen = await choose_runtime(settings, parts.runtimes)

    async def term(leadership: Leadership) -> None:
        try:
            await claim_database(parts.repository, leadership.lease, parts.data, settings.db_path)
        except (StaleWrite, Unavailable) as exc:
            log.warning("the database could not be bound to its data directory, and is again soon: %s", exc)
            await asyncio.sleep(RETRY_SECONDS)
            leadership.ended.set()
            return
        reconciler = Reconciler(
            settings=settings,
            writer=JobWriter(
                parts.repository, leadership.lease, parts.clock, parts.uptime, Timelines(parts.clock, parts.uptime)
            ),
            retention=parts.repository,
            runtimes=parts.runtimes,
            chosen=chosen,
            data=parts.data,
            watcher=parts.watcher,
            leadership=leadership,
            jitter=parts.jitter,
        )
        await reconciler.run()

    holder, seconds = this_process(), settings.lease_seconds
    await lead_forever(parts.repository, holder, seconds=seconds, uptime=parts.uptime, term=term)


async def _assemble_and_control(settings: Settings, repository: Storage | None = None) -> None:
    async with assembled(settings, repository) as parts:
        await control(parts)


async def choose_runtime(settings: Settings, runtimes: dict[str, LocalRuntime]) -> str:
    """Open the runtimes and return the name of the one new jobs get."""
    faults: dict[str, RuntimeUnavailable] = {}
    for name, runtime in runtimes.items():
        try:
            await runtime.open()
        except RuntimeUnavailable as exc:
            faults[name] = exc
    if settings.runtime != "auto":
        if settings.runtime in faults:
            log.warning("jobs wait until %s answers: %s", settings.runtime, faults[settings.runtime])
        return settings.runtime
    if "docker" in faults:
        log.warning("no engine answers, so jobs run as processes, without isolation: %s", faults["docker"])
        return "process"
    return "docker"


@asynccontextmanager
async def controlling(settings: Settings, repository: Storage) -> AsyncIterator[None]:
    """Run a controller beside something else, on the same open repository.

    Should it fail, the block is cancelled and what failed is raised.
    """
    async with background_task(_assemble_and_control(settings, repository), name="controller"):
        yield


async def run_controller(settings: Settings) -> None:
    """Run a controller until SIGTERM or SIGINT."""
    task = asyncio.create_task(_assemble_and_control(settings), name="controller")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("leaving; jobs go on")
