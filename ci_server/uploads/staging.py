"""A submission's directory, from the first byte to the moment when its row stands."""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from ci_common.jobs import Job, NewJob
from ci_common.run_directory.layout import UNCONFIRMED, DataDirectory, RunDirectory
from ci_common.system.disk import sync
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree
from ci_persistence.repository import JobRepository

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Staging:
    """`<data>/incoming/<job_id>`, which becomes `<data>/jobs/<job_id>`."""

    def __init__(self, data: DataDirectory, job_id: str) -> None:
        self.job_id = job_id
        self.path = data.incoming / job_id
        self._destination = data.job(job_id)
        self.stands = False
        """Whether the job's row has been stored."""

    @property
    def upload(self) -> Path:
        return self.path / "upload.zip"

    @property
    def workspace(self) -> Path:
        return RunDirectory(self.path / "1").workspace

    def link_upload(self, source: Path) -> None:
        """Take over another job's upload without copying it, where the file system can. Raises FileNotFoundError."""
        try:
            os.link(source, self.upload)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, self.upload)

    async def fill(self, read: Callable[[Path, Path], Awaitable[T]]) -> T:
        """Make the workspace, have it filled by `read` from the upload, which is synchronised, and return its result.

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

    async def commit(self, repository: JobRepository, job: NewJob, *, max_queued: int) -> Job:
        """Make this the job's directory, durably, and then store its row. Raises QueueFull, Unavailable, OSError.

        Whoever waits for it may be cancelled: directory and row either both stand afterwards, or neither does.
        """
        await in_thread(self._settle)
        stored = await repository.add(job, max_queued=max_queued)
        self.stands = True
        return stored

    def _settle(self) -> None:
        (self.path / UNCONFIRMED).touch()
        self.path.rename(self._destination)
        # Both at once, which is one commit for a journal.
        sync(self._destination)
        sync(self._destination.parent)

    def confirm(self) -> None:
        """Note that the job's row stands."""
        (self._destination / UNCONFIRMED).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything, wherever it has got to. Does nothing where there is nothing."""
        for path in (self.path, self._destination):
            try:
                delete_tree(path)
            except OSError as exc:  # The sweep finds it later.
                logger.warning("what a submission left cannot be removed: %s", exc)


@asynccontextmanager
async def staged(data: DataDirectory, job_id: str) -> AsyncIterator[Staging]:
    """Yield the directory for a new submission. At the end it is removed, unless it was committed."""
    staging = Staging(data, job_id)
    staging.path.mkdir()
    try:
        yield staging
    finally:
        if staging.stands:
            staging.confirm()
        else:
            await asyncio.shield(asyncio.to_thread(staging.remove))
