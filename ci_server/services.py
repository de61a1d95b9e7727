"""What the handlers share: settings, storage, wake-ups and the shutdown."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial

from ci_common.archives.unpack import UnpackLimits
from ci_common.jobs import Job
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.sandbox.channel import ReadingLimits
from ci_common.sandbox.pool import Readers
from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_common.system.watch import FileWatcher
from ci_persistence.metrics import JobMetrics
from ci_persistence.retention import JobRetention
from ci_persistence.storage import Storage
from ci_server.detection.tasks import MODULE
from ci_server.http.shutdown import Shutdown
from ci_server.streaming.event_source import RecentBatches
from ci_server.streaming.row_watcher import RowWatcher
from ci_server.streaming.shared_tail import Sources
from ci_server.streaming.streams import Tails
from ci_server.uploads.staging import Admission

_RECENT_BYTES = 8 * 1024**2
"""How many recent bytes of streams stay in memory, for readers that are a little behind."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the API does."""

    settings: Settings
    data: DataDirectory
    repository: Storage
    retention: JobRetention
    metrics: JobMetrics
    tails: Tails
    shutdown: Shutdown
    disk: Disk
    admission: Admission
    readers: Readers

    @cached_property
    def unpack_limits(self) -> UnpackLimits:
        return UnpackLimits.of(self.settings)

    def run_of(self, job: Job) -> RunDirectory:
        """Return the run directory of the job's present attempt."""
        return run_of(self.data, job)


def run_of(data: DataDirectory, job: Job) -> RunDirectory:
    """Return the run directory of the job's present attempt."""
    return data.run(job.id, job.attempt)


@asynccontextmanager
async def open_services(
    settings: Settings, repository: Storage, shutdown: Shutdown, disk: Disk
) -> AsyncIterator[Services]:
    """Open everything but the repository, and close it at the end. Raises OSError."""
    data = DataDirectory(settings.data_path)
    async with FileWatcher() as watcher, Readers(MODULE, ReadingLimits.of(settings)) as readers:
        if settings.controller != "off":  # Uploads will come.
            readers.expect()
        rows = RowWatcher(repository)
        tasks = [
            asyncio.create_task(rows.run(), name="row watcher"),
        ]
        for task in tasks:
            task.add_done_callback(_report_end)
        try:
            admission = Admission(settings, repository, disk, shutdown)
            recent = RecentBatches(_RECENT_BYTES)
            tails = Tails(Sources(repository, watcher, rows, shutdown, partial(run_of, data), recent))
            with tails.ending_with_the_server():
                yield Services(
                    settings=settings,
                    data=data,
                    repository=repository,
                    retention=repository,
                    metrics=repository,
                    tails=tails,
                    shutdown=shutdown,
                    disk=disk,
                    admission=admission,
                    readers=readers,
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the task %s has ended", task.get_name(), exc_info=error)
