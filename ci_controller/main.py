"""Puts a controller together: storage, runtimes, leadership, loop. Every composition root begins here."""

import asyncio
import logging
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import SettingsError, StaleWrite, Unavailable
from ci_common.owner_file import MOVED_TO, WrongDataDirectory, claim_directory, place_of
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_common.system.tasks import background_task
from ci_common.system.watch import FileWatcher
from ci_common.times import Clock, Uptime, uptime, utc_now
from ci_controller.job_writer import JobWriter, Timelines
from ci_controller.leadership import Leadership, lead_forever
from ci_controller.plan import Jitter
from ci_controller.reconciler import Reconciler
from ci_controller.runtime.docker import DockerRuntime
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import LocalRuntime
from ci_persistence.open import installation_of, open_installation
from ci_persistence.storage import Storage
from ci_persistence.stores.installations import Installation, InstallationStore
from ci_persistence.stores.leases import Lease

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How long to wait before leading again after a term could not begin."""


@dataclass(slots=True)
class Parts:
    """What a controller is made of."""

    settings: Settings
    data: DataDirectory
    storage: Storage
    runtimes: dict[str, LocalRuntime]
    watcher: FileWatcher
    clock: Clock = utc_now
    uptime: Uptime = uptime
    jitter: Jitter = random.random


@asynccontextmanager
async def assembled(settings: Settings, storage: Storage | None = None) -> AsyncIterator[Parts]:
    """Yield the parts of a controller, connected; they are let go of on the way out.

    A `storage` that is open already is used and left open. Raises Unavailable, SettingsError, also where the
    database belongs to another data directory.
    """
    if not settings.has_files:
        raise SettingsError(f"CI_FILES={settings.files}: a controller runs on the host that has the data directory")
    data = DataDirectory(settings.data_path)
    async with AsyncExitStack() as stack:
        if storage is None:
            storage = await stack.enter_async_context(open_installation(settings))
        installation = await installation_of(storage)
        watcher = await stack.enter_async_context(FileWatcher())
        runtimes: dict[str, LocalRuntime] = {
            "docker": DockerRuntime(settings, installation.id, data),
            "process": ProcessRuntime(settings, data),
        }
        for runtime in runtimes.values():
            stack.push_async_callback(runtime.close)
        yield Parts(settings, data, storage, runtimes, watcher)


async def control(parts: Parts) -> None:
    """Lead, or stand by to lead, until cancelled; which touches no job."""
    settings = parts.settings
    chosen = await choose_runtime(settings, parts.runtimes)

    async def term(leadership: Leadership) -> None:
        try:
            await claim_database(parts.storage.installations, leadership.lease, parts.data, settings.database)
        except (StaleWrite, Unavailable) as exc:
            log.warning("the database could not be bound to its data directory, and is again soon: %s", exc)
            await asyncio.sleep(RETRY_SECONDS)
            leadership.ended.set()
            return
        reconciler = Reconciler(
            settings=settings,
            writer=JobWriter(
                parts.storage, leadership.lease, parts.clock, parts.uptime, Timelines(parts.clock, parts.uptime)
            ),
            runtimes=parts.runtimes,
            chosen=chosen,
            data=parts.data,
            watcher=parts.watcher,
            leadership=leadership,
            jitter=parts.jitter,
        )
        await reconciler.run()

    holder, seconds = this_process(), settings.lease_seconds
    slots = settings.max_concurrency
    await lead_forever(parts.storage.leases, holder, seconds=seconds, slots=slots, uptime=parts.uptime, term=term)


async def _assemble_and_control(settings: Settings, storage: Storage | None = None) -> None:
    async with assembled(settings, storage) as parts:
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


async def claim_database(
    installations: InstallationStore, lease: Lease, data: DataDirectory, database: DatabaseAddress
) -> None:
    """Have the database and its data directory name each other; the two were found to belong together.

    Raises StaleWrite where another controller leads, WrongDataDirectory where another database has just taken the
    directory, Unavailable.
    """
    stored = await installations.get()
    if stored.data_path is not None and stored.data_path.startswith(MOVED_TO):
        raise WrongDataDirectory(f"the database {database} was {stored.data_path}: name that one")
    await asyncio.to_thread(claim_directory, data, stored.bound(database))
    if stored.data_path != place_of(data):
        await installations.bind(lease, Installation(stored.id, place_of(data)))


@asynccontextmanager
async def controlling(settings: Settings, storage: Storage) -> AsyncIterator[None]:
    """Run a controller beside something else, on the same open storage.

    Should it fail, the block is cancelled and what failed is raised.
    """
    async with background_task(_assemble_and_control(settings, storage), name="controller"):
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
