"""Whether the server takes new work now; asked before anything of it is received."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ci_common.errors import QueueFull, TooManyUploads, Unavailable
from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_persistence.repository import JobRepository
from ci_server.http.shutdown import Shutdown


class Upload:
    """A place among the uploads under way. `expected` bytes of it have not been written yet, as far as is known."""

    def __init__(self, disk: Disk, expected: int) -> None:
        self._disk = disk
        self.expected = expected

    def check_room(self) -> None:
        """Raise DiskLow where the disk has become too full meanwhile. May be called in any thread."""
        self._disk.check_anew()

    def count(self, size: int) -> None:
        """Note that `size` bytes have been written. Raises DiskLow."""
        self.expected = max(0, self.expected - size)
        self.check_room()


class Admission:
    """The server's say on submissions. For one event loop."""

    def __init__(self, settings: Settings, repository: JobRepository, disk: Disk, shutdown: Shutdown) -> None:
        self._max_queued = settings.max_queued
        self._max_uploads = settings.max_uploads
        self._repository = repository
        self._disk = disk
        self._shutdown = shutdown
        self._uploads: set[Upload] = set()

    @property
    def uploads(self) -> int:
        """How many uploads are under way."""
        return len(self._uploads)

    def check(self) -> None:
        """Raise Unavailable or DiskLow where no submission can be taken; whether the queue is full, storing tells."""
        if self._shutdown.started:
            raise Unavailable("the server is shutting down; send the request again in a moment")
        self._disk.check()

    @asynccontextmanager
    async def upload(self, announced: int) -> AsyncIterator[Upload]:
        """Hold a place for an upload of `announced` bytes, 0 where that is not known.

        Raises Unavailable, QueueFull, DiskLow and TooManyUploads.
        """
        self.check()
        if await self._repository.queue_length() >= self._max_queued:
            raise QueueFull.beyond(self._max_queued)
        if len(self._uploads) >= self._max_uploads:
            raise TooManyUploads(
                f"{self._max_uploads} uploads are under way, and no more are taken at once (CI_MAX_UPLOADS)"
            )
        self._disk.check(wanted=announced + sum(upload.expected for upload in self._uploads))
        upload = Upload(self._disk, announced)
        self._uploads.add(upload)
        try:
            yield upload
        finally:
            self._uploads.remove(upload)
