"""What the handlers share: settings, storage, wake-ups and the shutdown."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from ci_common.access.identity import Identity
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
from ci_server.access.audit import Audit, RequestNote
from ci_server.access.authentication import Authentication
from ci_server.access.browser_cookies import BrowserCookies
from ci_server.access.places import Places
from ci_server.access.projects import Projects
from ci_server.access.rates import Rates
from ci_server.access.stream_tickets import StreamTickets
from ci_server.detection.tasks import MODULE
from ci_server.http.exchange import Shutdown, has_place, keep_place
from ci_server.streaming.event_source import RecentBatches
from ci_server.streaming.job_feed import JobFeed
from ci_server.streaming.line_indexes import LineIndexes
from ci_server.streaming.row_watcher import RowWatcher
from ci_server.streaming.shared_tail import Sources
from ci_server.streaming.stored_logs import StoredLogs
from ci_server.streaming.streams import Tails
from ci_server.uploads.spares import Spares
from ci_server.uploads.staging import Admission, Upload

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
    feed: JobFeed
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
    places: Places
    key_ring: KeyRing
    live_logs: LiveLogs
    line_indexes: LineIndexes
    stream_tickets: StreamTickets
    audit: Audit
    session_cookies: BrowserCookies
    sign_in_cookies: BrowserCookies
    submissions: set[tuple[str, str]] = field(default_factory=set)
    """The submissions that are being accepted: owners, and keys that the clients gave to them."""
    note: RequestNote | None = None
    """What the audit gets to know of the request that these services are for."""

    def audited(self, note: RequestNote) -> "Services":
        """Return the services for one request: its first change in the storage has the note's entry with it."""
        audited = object.__new__(Services)
        # As `replace` would, which takes several microseconds of each request for the many fields.
        audited.__dict__.update(self.__dict__, storage=self.storage.audited(note), note=note)
        return audited

    def concern(self, *, target: str | None = None, project: str | None = None, sender: Identity | None = None) -> None:
        """Say for the audit what the request is about, and who has sent it, where its path and its head do not."""
        if self.note is not None:
            self.note.target = target or self.note.target
            self.note.project = project or self.note.project
            self.note.sender = sender or self.note.sender

    async def check_quotas(self, project: str | None, owner: str, upload_bytes: int = 0) -> None:
        """Raise QuotaExceeded where a submission of at least so many bytes would be refused in the end, as it seems."""
        ceilings = await self.projects.ceilings(project, owner)
        await self.storage.quotas.check(ceilings, {Quota.QUEUED: 1, Quota.STORED: upload_bytes})

    async def store_job(self, job: NewJob, key: SubmissionKey | None) -> Job:
        """Store a new job, within the limit of the queue and the quotas of its project and its owner.

        Raises QueueFull, QuotaExceeded, AlreadySubmitted, Unavailable; see `JobStore.add`.
        """
        ceilings = await self.projects.ceilings(job.project, job.owner)
        self.concern(target=f"/jobs/{job.id}", project=job.project)
        return await self.storage.jobs.add(job, max_queued=self.settings.max_queued, key=key, ceilings=ceilings)

    @asynccontextmanager
    async def uploading(self, announced: int, project: str | None, owner: str) -> AsyncIterator[Upload]:
        """Admit an upload of `owner` to a project, as far as that is known; see `Admission.upload`.

        Raises QuotaExceeded, too.
        """
        async with self.admission.upload(announced) as upload, self.places.taken(Quota.UPLOADS, project, owner):
            yield upload

    async def take_stream(self, request: Request, project: str | None, reader: Identity) -> None:
        """Count the answer as an open stream, once. Raises QuotaExceeded, Unavailable."""
        if not has_place(request.scope):
            keep_place(request.scope, await self.places.take(Quota.STREAMS, project, reader.name))

    async def check_streams(self, project: str | None, reader: Identity) -> None:
        """Raise QuotaExceeded where a stream would be refused in the end, as it seems."""
        ceilings = await self.projects.ceilings(project, reader.name, (Quota.STREAMS,))
        await self.storage.quotas.check(ceilings, {Quota.STREAMS: 1})

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
        projects = Projects(settings, storage.projects)
        places = Places(settings, projects, storage.places)
        renewing = asyncio.create_task(places.run(), name="places")
        renewing.add_done_callback(_report_end)
        key_ring = KeyRing(settings.keyring_path)
        stream_tickets = StreamTickets(key_ring)
        audit = Audit(storage.audit)
        installation_id = (await storage.installations.get()).id
        cookies = BrowserCookies("ci-session", installation_id)
        authentication = Authentication(settings, storage.keys, storage.projects, stream_tickets, cookies)
        line_indexes = LineIndexes()
        try:
            admission = Admission(settings, storage.queue, disk, shutdown)
            recent = RecentBatches(_RECENT_BYTES)
            live_logs = LiveLogs(MaskKeeper(key_ring))
            contents = open_store(settings, data)
            logs = StoredLogs(storage.logs, contents, guesses=bool(settings.artifacts_url))
            tails = Tails(Sources(storage.jobs, watcher, rows, shutdown, data.run_of, recent, logs.find, live_logs))
            feed = JobFeed(storage.outbox, storage.jobs, shutdown)
            with tails.ending_with_the_server(), feed.ending_with_the_server():
                yield Services(
                    settings=settings,
                    data=data,
                    storage=storage,
                    tails=tails,
                    feed=feed,
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
                    projects=projects,
                    places=places,
                    key_ring=key_ring,
                    stream_tickets=stream_tickets,
                    session_cookies=cookies,
                    sign_in_cookies=BrowserCookies("ci-sign-in", installation_id),
                    live_logs=live_logs,
                    audit=audit,
                    line_indexes=line_indexes,
                )
        finally:
            await line_indexes.close()
            await authentication.close()
            await audit.close()
            for task in (watching, renewing):
                task.cancel()
            await asyncio.gather(watching, renewing, return_exceptions=True)
            await places.close()


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the task %s has ended", task.get_name(), exc_info=error)
