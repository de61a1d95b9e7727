"""Garbage in the data directory: what ended attempts, deleted rows and interrupted submissions have left there."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ci_common.jobs import Job, State, is_job_id
from ci_common.run_directory.layout import KEPT, UNCOMMITTED, DataDirectory
from ci_common.system.tasks import in_thread
from ci_common.system.trees import Folder
from ci_common.times import Clock
from ci_controller.gc.runner import FOUND_TWICE, Collector
from ci_controller.runtime.protocol import Runtime, WorkloadKey
from ci_persistence.stores.jobs import JobStore

SECONDS = 6 * 3600.0
"""Between two looks at the directories of all jobs."""
STALE_SECONDS = 3600.0
"""How long a submission may go without a write before it is taken to be interrupted."""

AT_ONCE = 200
"""Entries between two pauses."""
_LOAD = 9
"""After a scan of *t* seconds, pause for this many times *t*: scans take at most a tenth of the time."""

Found = TypeVar("Found")


@dataclass(eq=False)
class UncleanAttempts(Collector[WorkloadKey]):
    """Attempts that have ended, and whose controller died before it cleaned them up: their supervisors do that."""

    name = "what ended attempts have left"
    seconds = SECONDS
    data: DataDirectory
    jobs: JobStore
    supervise: Callable[[Job], None]

    async def find(self) -> AsyncGenerator[list[WorkloadKey], None]:
        async with aclosing(scan_gently(self.data.jobs, _unclean_attempts)) as found:
            async for keys in found:
                yield keys

    async def remove(self, items: list[WorkloadKey]) -> dict[WorkloadKey, Exception]:
        jobs = await self.jobs.get_many({key.job_id for key in items})
        attempts = [
            jobs[key.job_id].as_of(key.attempt)
            for key in items
            if key.job_id in jobs and key.attempt <= jobs[key.job_id].attempt
        ]
        for attempt in attempts:
            if attempt.state is State.COMPLETED:
                self.supervise(attempt)
        return {}


@dataclass(eq=False)
class InterruptedSubmissions(Collector[Path]):
    """Directories of submissions that have no row, an hour after the last write. In jobs/, they have a mark."""

    name = "interrupted submissions"
    parent: Path
    """`jobs` or `incoming` in the data directory."""
    data: DataDirectory
    jobs: JobStore
    runtime: Runtime
    """One that can delete what jobs wrote."""
    clock: Clock
    seconds: float = SECONDS

    async def find(self) -> AsyncGenerator[list[Path], None]:
        before = self.clock().timestamp() - STALE_SECONDS

        def interrupted(job: Folder) -> bool:
            is_submission = self.parent == self.data.incoming or job.state(UNCOMMITTED) is not None
            return is_submission and _newest(job, levels=2) < before

        async with aclosing(_without_row(self.parent, self.data, self.jobs, interrupted)) as found:
            async for paths in found:
                yield paths

    async def remove_one(self, item: Path) -> None:
        await self.runtime.delete_tree(item)


@dataclass(eq=False)
class OrphanDirectories(Collector[Path]):
    """Directories in jobs/ that have no row and are no submissions: an older copy of the database left them.

    They are removed once every job of their age would have been removed.
    """

    name = "orphan directories"
    grace_seconds = FOUND_TWICE
    seconds = SECONDS
    data: DataDirectory
    jobs: JobStore
    runtime: Runtime
    """One that can delete what jobs wrote."""
    oldest_job: Callable[[], Awaitable[datetime | None]]
    """Returns when the oldest job that is kept may have ended; None where that is not known, or some stay for ever."""

    async def find(self) -> AsyncGenerator[list[Path], None]:
        if (oldest := await self.oldest_job()) is None:
            return
        before = oldest.timestamp()

        def orphaned(job: Folder) -> bool:
            return job.state(UNCOMMITTED) is None and _newest(job, levels=2) < before

        async with aclosing(_without_row(self.data.jobs, self.data, self.jobs, orphaned)) as found:
            async for paths in found:
                yield paths

    async def remove_one(self, item: Path) -> None:
        await self.runtime.delete_tree(item)


async def _without_row(
    parent: Path, data: DataDirectory, jobs: JobStore, is_old: Callable[[Folder], bool]
) -> AsyncGenerator[list[Path], None]:
    """Yield the directories of jobs below `parent` that are old and have no row."""

    def old(entry: "os.DirEntry[str]") -> list[str]:
        try:
            with Folder.opened(Path(entry.path)) as job:
                return [entry.name] if is_job_id(entry.name) and is_old(job) else []
        except OSError:
            return []  # It has just been moved or removed, or cannot be seen.

    # Directories first: a submission's row is inserted before its mark is removed.
    async with aclosing(scan_gently(parent, old)) as found:
        async for job_ids in found:
            known = await jobs.get_many(job_ids)
            for job_id in known:
                (data.job(job_id) / UNCOMMITTED).unlink(missing_ok=True)
            yield [parent / job_id for job_id in job_ids if job_id not in known]


def _unclean_attempts(entry: "os.DirEntry[str]") -> list[WorkloadKey]:
    """Return those attempts of a job whose run directory has more than is kept of it, or is none."""
    try:
        with Folder.opened(Path(entry.path)) as job:
            numbers = [name for name in job.names() if name.isdecimal() and _holds_more(job, name)]
    except OSError:
        return []
    return [WorkloadKey(entry.name, int(number)) for number in numbers if is_job_id(entry.name)]


def _holds_more(job: Folder, name: str) -> bool:
    try:
        with job.folder(name) as run:
            return not run.names() <= KEPT
    except NotADirectoryError:
        return True
    except OSError:
        return False  # It has just gone.


def _newest(folder: Folder, *, levels: int) -> float:
    """Return when the folder or something in it was last written to, looking into so many levels of folders below."""
    times = [os.fstat(folder.descriptor).st_mtime]
    for entry in folder.entries():
        times.append(entry.stat(follow_symlinks=False).st_mtime)
        if levels and entry.is_dir(follow_symlinks=False):
            with folder.folder(entry.name) as inner:
                times.append(_newest(inner, levels=levels - 1))
    return max(times)


async def scan_gently(
    directory: Path, examine: Callable[["os.DirEntry[str]"], Iterable[Found]]
) -> AsyncGenerator[list[Found], None]:
    """Yield what `examine` returns for the entries of the directory, in no order, for AT_ONCE entries at a time.

    `examine` runs in a thread. Memory and the share of a processor do not grow with the number of entries. Entries that
    are created or removed during the scan may be missed. Close the generator with `aclose` when done. Raises OSError.
    """
    with ExitStack() as opened:
        # Entered within the thread, so that it is closed even after a cancellation.
        entries = await in_thread(lambda: opened.enter_context(os.scandir(directory)))
        more = True
        while more:
            begun = time.perf_counter()
            more, found = await in_thread(_examined, entries, examine)
            pause = (time.perf_counter() - begun) * _LOAD
            if found:
                yield found
            if more:
                await asyncio.sleep(pause)


def _examined(
    entries: "Iterator[os.DirEntry[str]]", examine: Callable[["os.DirEntry[str]"], Iterable[Found]]
) -> tuple[bool, list[Found]]:
    """Return whether there may be more entries, and what was found in the next ones."""
    some = list(islice(entries, AT_ONCE))
    return len(some) == AT_ONCE, [found for entry in some for found in examine(entry)]
