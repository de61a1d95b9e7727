"""Directories of jobs that no record knows, as a restored backup or a copy by hand leaves them.

Nobody can say whose they are, so they go only once every job of their age would have gone.
"""

import logging
import os
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path

from ci_common.errors import RuntimeFault
from ci_common.jobs import is_job_id
from ci_common.run_directory.layout import UNCONFIRMED, DataDirectory
from ci_common.system.directory_scan import scan_gently
from ci_common.times import to_micros
from ci_controller.runtime.protocol import Runtime
from ci_persistence.repository import JobRepository

log = logging.getLogger(__name__)


class Strays:
    """Removes the directories below jobs/ that are old, have no record, and had none at the last sweep either."""

    def __init__(self, data: DataDirectory, repository: JobRepository, runtime: Runtime) -> None:
        """`runtime` is one that can delete what jobs wrote."""
        self._data = data
        self._repository = repository
        self._runtime = runtime
        self._seen: set[str] = set()

    async def sweep(self, before: datetime) -> None:
        """Remove those that nobody has written to since `before`. Raises Unavailable."""
        # The directories first: a row stands before its directory loses the mark of a submission.
        strays: set[str] = set()
        async with aclosing(scan_gently(self._data.jobs, partial(_untouched, to_micros(before) * 1000))) as found:
            async for untouched in found:
                strays |= set(untouched) - (await self._repository.get_many(untouched)).keys()
        seen_before, self._seen = self._seen, strays
        for job_id in sorted(strays & seen_before):
            log.warning("removing the directory of a job that does not exist: %s", job_id)
            try:
                await self._runtime.reclaim(self._data.job(job_id))
            except (OSError, RuntimeFault) as exc:
                log.warning("%s cannot be removed: %s", self._data.job(job_id), exc)


def _untouched(limit: int, job: "os.DirEntry[str]") -> list[str]:
    """Return the job's id if nobody has written to its directory since, and it is no submission under way."""
    return [job.name] if is_job_id(job.name) and _newest(Path(job.path), limit) < limit else []


def _newest(directory: Path, enough: int) -> int:
    """Return when the directory or something in it was written, in ns; no more than one that is `enough`."""
    newest = 0
    try:
        newest = directory.lstat().st_mtime_ns
        if newest < enough:
            entries = [*directory.iterdir(), *directory.glob("*/*")]
            newest = max([newest, *(entry.lstat().st_mtime_ns for entry in entries)])
            if any(entry.name == UNCONFIRMED for entry in entries):
                return enough
    except OSError:
        return enough  # It has just been moved or removed, or cannot be seen.
    return newest
