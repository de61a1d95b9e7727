"""A submission on the server's disk: whether there is room for it, its upload as it arrives, and its directory.

The directory is moved into place before the job's row is stored, and removed where no row is stored.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, Self, TypeVar

from ci_common.errors import QueueFull, TooManyUploads, Unavailable
from ci_common.jobs import Job, NewJob
from ci_common.manifests.stored import link_file, link_upload
from ci_common.run_directory.layout import UNCOMMITTED, UPLOAD, DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Disk, sync
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree
from ci_persistence.stores.queue import QueueStore
from ci_persistence.stores.submissions import SubmissionKey
from ci_server.http.exchange import Shutdown

BLOCK_BYTES = 1024 * 1024
_SYNC_BYTES = 8 * 1024 * 1024
"""How much is written before the disk is made to take it, so that little is left to synchronise at the end."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Upload:
    """One of the present uploads. `expected` bytes of it are not written yet, as far as is known."""

    def __init__(self, disk: Disk, expected: int) -> None:
        self._disk = disk
        self.expected = expected

    def check_room(self) -> None:
        """Raise DiskLow where the disk is now too full. May be called in any thread."""
        self._disk.check_again()

    def count(self, size: int) -> None:
        """Count `size` bytes as written. Raises DiskLow."""
        self.expected = max(0, self.expected - size)
        self.check_room()


class Admission:
    """Decides whether the server takes a submission, before anything of it is received. For one event loop."""

    def __init__(self, settings: Settings, queue: QueueStore, disk: Disk, shutdown: Shutdown) -> None:
        self._max_queued = settings.max_queued
        self._max_uploads = settings.max_uploads
        self._queue = queue
        self._disk = disk
        self._shutdown = shutdown
        self._uploads: set[Upload] = set()

    @property
    def uploads(self) -> int:
        """How many uploads there are at present."""
        return len(self._uploads)

    def check(self) -> None:
        """Raise Unavailable or DiskLow where no submission can be taken. Whether the queue is full is not checked."""
        if self._shutdown.started:
            raise Unavailable("the server is shutting down; send the request again in a moment")
        self._disk.check()

    @asynccontextmanager
    async def upload(self, announced: int) -> AsyncIterator[Upload]:
        """Admit an upload of `announced` bytes, 0 where that is not known.

        Raises Unavailable, QueueFull, DiskLow and TooManyUploads.
        """
        self.check()
        if await self._queue.length() >= self._max_queued:
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


class Digest(Protocol):
    """A running digest of a file's bytes, such as one of hashlib."""

    def update(self, data: bytes, /) -> None: ...


class BlockWriter:
    """Writes and digests a file's blocks in a thread while the next block is received; another thread synchronises.

    A slow disk delays only the sender: no more than two blocks are in memory. The descriptor must stay open until the
    context is left, which waits for the threads.
    """

    def __init__(self, descriptor: int, digest: Digest, on_written: Callable[[int], None]) -> None:
        """`on_written` takes the size of each block that has been written, and may raise."""
        self._descriptor = descriptor
        self._digest = digest
        self._on_written = on_written
        self._writing: asyncio.Task[int] | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._unsynced = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if tasks := {task for task in (self._writing, self._syncing) if task is not None}:
            await asyncio.wait(tasks)

    async def write(self, chunks: Sequence[bytes]) -> None:
        """Write a block once the one before is written. Raises OSError, and what `on_written` raises."""
        await self._written()
        self._writing = asyncio.create_task(asyncio.to_thread(self._write, chunks))

    async def finish(self) -> None:
        """Return once everything is written; little is left to synchronise then. Raises as `write` does."""
        await self._written()
        if self._syncing is not None:
            await self._syncing

    async def _written(self) -> None:
        if self._writing is None:
            return
        size = await self._writing
        self._writing = None
        self._on_written(size)
        self._unsynced += size
        if self._unsynced >= _SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            if self._syncing is not None:
                self._syncing.result()
            self._syncing = asyncio.create_task(asyncio.to_thread(os.fsync, self._descriptor))
            self._unsynced = 0

    def _write(self, chunks: Sequence[bytes]) -> int:
        """Write the block and add it to the digest; return its size."""
        block = b"".join(chunks)
        self._digest.update(block)
        view = memoryview(block)
        while view:
            view = view[os.write(self._descriptor, view) :]
        return len(block)


class Staging:
    """`<data>/incoming/<job_id>`, which becomes `<data>/jobs/<job_id>`."""

    def __init__(self, data: DataDirectory, job_id: str) -> None:
        self.job_id = job_id
        self.path = data.incoming / job_id
        self._destination = data.job(job_id)
        self.committed = False
        """Whether the job's row has been stored."""

    @property
    def upload(self) -> Path:
        return self.path / "upload.zip"

    @property
    def workspace(self) -> Path:
        return RunDirectory(self.path / "1").workspace

    @property
    def stored_upload(self) -> Path:
        return self.path / UPLOAD

    def link_upload(self, data: DataDirectory, job_id: str) -> bool:
        """Use another job's upload, without copying it where the file system can; return whether it is by manifest.

        Raises FileNotFoundError.
        """
        by_manifest = data.stored_upload(job_id).is_dir()
        if by_manifest:
            link_upload(data.stored_upload(job_id), self.stored_upload)
            sync(self.stored_upload)
        else:
            link_file(data.upload(job_id), self.upload)
        return by_manifest

    async def fill(self, read: Callable[[Path, Path], Awaitable[T]]) -> T:
        """Make the workspace, let `read` fill it from the upload, synchronise the upload, and return the result.

        `read` takes the paths of both. Raises what it raises, and OSError.
        """
        self.workspace.mkdir(parents=True)
        syncing = asyncio.create_task(asyncio.to_thread(sync, self.upload), name="upload to disk")
        try:
            result = await read(self.upload, self.workspace)
        finally:
            await asyncio.gather(syncing, return_exceptions=True)
        syncing.result()
        return result

    async def commit(
        self,
        store: Callable[[NewJob, SubmissionKey | None], Awaitable[Job]],
        job: NewJob,
        key: SubmissionKey | None = None,
    ) -> Job:
        """Make this the job's directory, durably, and then have its row stored, with `key`.

        Raises OSError, and what `store` raises.

        If the caller is cancelled, either both directory and row exist afterwards, or neither.
        """
        await in_thread(self._move)
        stored = await store(job, key)
        self.committed = True
        return stored

    def _move(self) -> None:
        (self.path / UNCOMMITTED).touch()
        self.path.rename(self._destination)
        # Both at once, which is one commit for a journal.
        sync(self._destination)
        sync(self._destination.parent)

    def confirm(self) -> None:
        """Remove the mark, as the job's row is stored."""
        (self._destination / UNCOMMITTED).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the directory, at either place. Does nothing where there is none."""
        for path in (self.path, self._destination):
            try:
                delete_tree(path)
            except OSError as exc:  # The garbage collector finds it later.
                logger.warning("the files of an abandoned submission cannot be removed: %s", exc)


@asynccontextmanager
async def staged(data: DataDirectory, job_id: str) -> AsyncIterator[Staging]:
    """Yield the directory for a new submission. At the end it is removed, unless it was committed."""
    staging = Staging(data, job_id)
    staging.path.mkdir()
    try:
        yield staging
    finally:
        if staging.committed:
            staging.confirm()
        else:
            await asyncio.shield(asyncio.to_thread(staging.remove))
