"""What the handlers share: settings, storage, wake-ups and the shutdown."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ci_common.archives.unpack import UnpackLimits
from ci_common.artifacts import ArtifactStore, open_store
from ci_common.errors import FilesElsewhere
from ci_common.jobs import Job, NewJob
from ci_common.quotas import Quota
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.masked_log import LiveLogs
from ci_common.sandbox.channel import ReadingLimits
from ci_common.sandbox.pool import Readers
from ci_common.secrets.ring import KeyRing
from ci_common.secrets.sealing import MaskKeeper
from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_common.system.watch import FileWatcher
from ci_persistence.storage import Storage
from ci_persistence.stores.submissions import SubmissionKey
from ci_server.access.authentication import Authentication
from ci_server.access.projects import Projects
from ci_server.access.rates import Rates
from ci_server.access.stream_tickets import StreamTickets
from ci_server.detection.tasks import MODULE
from ci_server.http.exchange import Shutdown
from ci_server.streaming.event_source import RecentBatches
from ci_server.streaming.row_watcher import RowWatcher
from ci_server.streaming.shared_tail import Sources
from ci_server.streaming.stored_logs import StoredLogs
from ci_server.streaming.streams import Tails
from ci_server.uploads.spares import Spares
from ci_server.uploads.staging import Admission

_RECENT_BYTES = 8 * 1024**2
"""How many recent bytes of streams stay in memory, for readers that are a little behind."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the API does."""

    settings: Settings
    data: DataDirectory
    storage: Storage
    tails: Tails
    shutdown: Shutdown
    disk: Disk
    admission: Admission
    readers: Readers
    unpack_limits: UnpackLimits
    spares: Spares
    contents: ArtifactStore
    logs: StoredLogs
    authentication: Authentication
    rates: Rates
    projects: Projects
    key_ring: KeyRing
    live_logs: LiveLogs
    stream_tickets: StreamTickets
    submissions: set[tuple[str, str]] = field(default_factory=set)
    """The submissions that are being accepted: owners, and keys that the clients gave to them."""

    async def check_quotas(self, project: str | None, owner: str, upload_bytes: int = 0) -> None:
        """Raise QuotaExceeded where a submission of at least so many bytes would be refused in the end, as it seems."""
        ceilings = await self.projects.ceilings(project, owner)
        await self.storage.quotas.check(ceilings, {Quota.QUEUED: 1, Quota.STORED: upload_bytes})

    async def store_job(self, job: NewJob, key: SubmissionKey | None) -> Job:
        """Store a new job, within the limit of the queue and the quotas of its project and its owner.

        Raises QueueFull, QuotaExceeded, AlreadySubmitted, Unavailable; see `JobStore.add`.
        """
        ceilings = await self.projects.ceilings(job.project, job.owner)
        return await self.storage.jobs.add(job, max_queued=self.settings.max_queued, key=key, ceilings=ceilings)

    def require_files(self) -> None:
        """Raise FilesElsewhere where the data directory is on another host."""
        if not self.settings.has_files:
            raise FilesElsewhere


@asynccontextmanager
async def open_services(
    settings: Settings, storage: Storage, shutdown: Shutdown, disk: Disk
) -> AsyncIterator[Services]:
    """Open everything but the storage, and close it at the end. Raises OSError."""
    data = DataDirectory(settings.data_path)
    limits = UnpackLimits.of(settings)
    async with (
        FileWatcher() as watcher,
        Readers(MODULE, ReadingLimits.of(settings)) as readers,
        Spares(data, disk, limits, settings.spare_workspaces) as spares,
    ):
        if settings.controller != "off":  # Uploads will come.
            readers.expect()
        rows = RowWatcher(storage.jobs)
        watching = asyncio.create_task(rows.run(), name="row watcher")
        watching.add_done_callback(_report_end)
        key_ring = KeyRing(settings.keyring_path)
        stream_tickets = StreamTickets(key_ring)
        authentication = Authentication(settings, storage.keys, storage.projects, stream_tickets)
        try:
            admission = Admission(settings, storage.queue, disk, shutdown)
            recent = RecentBatches(_RECENT_BYTES)
            live_logs = LiveLogs(MaskKeeper(key_ring))
            contents = open_store(settings, data)
            logs = StoredLogs(storage.logs, contents, guesses=bool(settings.artifacts_url))
            tails = Tails(Sources(storage.jobs, watcher, rows, shutdown, data.run_of, recent, logs.find, live_logs))
            with tails.ending_with_the_server():
                yield Services(
                    settings=settings,
                    data=data,
                    storage=storage,
                    tails=tails,
                    shutdown=shutdown,
                    disk=disk,
                    admission=admission,
                    readers=readers,
                    unpack_limits=limits,
                    spares=spares,
                    contents=contents,
                    logs=logs,
                    authentication=authentication,
                    rates=Rates(settings),
                    projects=Projects(settings, storage.projects),
                    key_ring=key_ring,
                    stream_tickets=stream_tickets,
                    live_logs=live_logs,
                )
        finally:
            await authentication.close()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the task %s has ended", task.get_name(), exc_info=error)
