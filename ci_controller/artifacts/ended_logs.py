"""Moves the log of an attempt that has ended to the artifact store, after all else of it is done.

The store gets it first, and what the store has is read and compared; then the database says so, then a mark beside the
run directory; then the log is removed here. Each step may be repeated, so whatever dies in between, the log is whole in
one of both places, and the next controller goes on.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

from ci_common.artifacts.logs import LogLost, log_key, times_key
from ci_common.artifacts.store import CHUNK, ArtifactStore, ContentLost, Kept
from ci_common.artifacts.types import DEFAULT
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.stored import StoredMark, write_mark
from ci_common.run_directory.untrusted_files import open_regular
from ci_common.system.disk import sync
from ci_common.system.tasks import in_thread
from ci_common.system.trees import Folder
from ci_controller.runtime.protocol import Check
from ci_persistence.stores.kept.logs import LogStore, StoredLog
from ci_persistence.stores.leases import Lease

log = logging.getLogger(__name__)

_TEXT: Final = "text/plain; charset=utf-8"


class LogDiffers(OSError):
    """The log here is not the one that the attempt ended with, or the store gives back something else."""


class EndedLogs:
    """The logs of one installation that move during one term."""

    def __init__(
        self, data: DataDirectory, contents: ArtifactStore, logs: LogStore, lease: Lease, check: Check
    ) -> None:
        """`check` is called before every change to files or to the store, and may forbid it by raising."""
        self._data = data
        self._contents = contents
        self._logs = logs
        self._lease = lease
        self._check = check

    async def move(self, job: Job) -> None:
        """Move the log of the attempt that `job` is at, if it has ended and is cleared; else do nothing.

        May be repeated. Raises OSError (LogDiffers too), StoreUnavailable, LeadershipLost.
        """
        run = self._data.run_of(job)
        if job.state is not State.COMPLETED or not job.log_bytes or not job.log_sha256:
            return
        if not await in_thread(_is_here, run):
            return
        if os.path.lexists(run.log) and await self._logs.find(job.id, job.attempt) is None:
            stored = await self._send(job, run)
            self._check()
            await self._logs.note(job.id, job.attempt, stored, self._lease)
            if await self._logs.find(job.id, job.attempt) is None:
                await self._contents.remove(log_key(job.id, job.attempt))  # The job was deleted in between.
                await self._contents.remove(times_key(job.id, job.attempt))
                return
        self._check()
        await in_thread(_remove, run, StoredMark(job.log_bytes, job.log_sha256))

    async def _send(self, job: Job, run: RunDirectory) -> StoredLog:
        """Have the store keep the log and the index of its times; return how long they are there."""
        assert job.log_bytes is not None
        text = _FileSource(run.log, log_key(job.id, job.attempt), job.log_bytes, _TEXT)
        times = _FileSource(run.times, times_key(job.id, job.attempt), await in_thread(_size_of, run.times), DEFAULT)
        sources = [text, times] if times.expected else [text]
        for source, outcome in zip(sources, await self._contents.keep(sources, self._check), strict=True):
            if isinstance(outcome, Exception):
                raise outcome
            await self._compare(source, outcome)
        if text.sha256 != job.log_sha256:
            await self._contents.remove(text.key)
            raise LogDiffers(f"the log of job {job.id}, attempt {job.attempt}, is not the one that it ended with")
        return StoredLog(job.log_bytes, times.expected)

    async def _compare(self, source: "_FileSource", kept: Kept) -> None:
        """Read what the store has. Raises LogDiffers, StoreUnavailable."""
        if kept.key != source.key:
            raise LogDiffers(f"the artifact store calls {source.key} by another name, {kept.key}")
        digest = hashlib.sha256()
        try:
            content = await self._contents.open(kept.key, source.expected)
            try:
                async with aclosing(content.chunks(0, source.expected)) as chunks:
                    async for chunk in chunks:
                        digest.update(chunk)
            finally:
                content.close()
        except ContentLost as exc:
            raise LogLost(str(exc)) from exc
        if digest.hexdigest() != source.sha256:
            raise LogDiffers(f"the artifact store gives back other bytes than were sent as {source.key}")


class _FileSource:
    """The first `expected` bytes of a file that does not change any more, and their digest once they were read."""

    def __init__(self, path: Path, key: str, expected: int, content_type: str) -> None:
        self.key = key
        self.expected = expected
        self.content_type = content_type
        self.disposition = "attachment"
        self.sha256 = ""
        self._path = path

    def chunks(self) -> Iterator[bytes]:
        """Yield the content. Raises OSError."""
        digest, position = hashlib.sha256(), 0
        descriptor = open_regular(self._path)
        try:
            while position < self.expected:
                chunk = os.pread(descriptor, min(CHUNK, self.expected - position), position)
                if not chunk:
                    raise LogDiffers(f"{self._path} has {position} bytes, and had {self.expected}")
                digest.update(chunk)
                position += len(chunk)
                yield chunk
        finally:
            os.close(descriptor)
        self.sha256 = digest.hexdigest()


def _is_here(run: RunDirectory) -> bool:
    """Return whether the log, or the index of its times, is here, and nothing else of the attempt is left to be done.

    The record is written before the gate is removed, which is the beginning of the end of the other files.
    """
    if os.path.lexists(run.gate) or not os.path.lexists(run.record):
        return False
    return os.path.lexists(run.log) or (os.path.lexists(run.stored) and os.path.lexists(run.times))


def _size_of(path: Path) -> int:
    with suppress(FileNotFoundError):
        descriptor = open_regular(path)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    return 0


def _remove(run: RunDirectory, mark: StoredMark) -> None:
    """Make the mark, and remove the log, and then the index, which the log here is read with."""
    write_mark(run, mark)
    sync(run.stored.parent)
    with suppress(FileNotFoundError), Folder.opened(run.path) as folder:
        folder.delete(run.log.name)
    with Folder.opened(run.times.parent) as job:
        with suppress(FileNotFoundError):
            job.delete(run.times.name)
        with suppress(FileNotFoundError):
            job.delete(run.closed.name)
