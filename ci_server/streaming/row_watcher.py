"""Wakes streams when their jobs' rows or files change; one reader of the database serves the whole process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager

from ci_common.errors import JobNotFound, Unavailable
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.system.watch import FileWatcher, Watched
from ci_persistence.stores.jobs import JobStore

_SHORTEST_PAUSE = 0.001
_PAUSE_PER_JOB = 0.0002
"""Seconds between two reads for each row, about four times as long as reading it takes: so reading takes at most a
fifth of the time. The time of a read is not measured, since on a busy machine it is mostly waiting."""
_RETRY_SECONDS = 1.0
_LONGEST_WAIT = 60.0
"""Seconds after which a wait ends by itself, in case a wake-up was lost."""

logger = logging.getLogger(__name__)


class Follower:
    """One listener's view of one job: `job` is its row as last read."""

    def __init__(self, job: Job, wake: Callable[[], None]) -> None:
        self.job = job
        self.gone = False
        """The row has been deleted; `job` is its last version."""
        self._wake = wake

    def on_row(self, job: Job | None) -> None:
        """Take a row, None where it is deleted, and wake the listener if it differs."""
        if job is None:
            self.gone = True
        elif (job.version, job.cancel_requested_time) == (self.job.version, self.job.cancel_requested_time):
            return
        elif job.version >= self.job.version:
            self.job = job
        self._wake()


class RowWatcher:
    """Watches the rows of all followed jobs. Run `run` as a task as long as the watcher is used."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._followers: dict[str, set[Follower]] = {}
        self._has_followers = asyncio.Event()

    @asynccontextmanager
    async def follow(self, job: Job, wake: Callable[[], None]) -> AsyncIterator[Follower]:
        """Keep a follower's job up to date and call `wake` after every change. Raises JobNotFound, Unavailable."""
        follower = Follower(job, wake)
        followers = self._followers.setdefault(job.id, set())
        followers.add(follower)
        self._has_followers.set()
        try:
            # The row may have changed before the follower was there.
            follower.on_row((await self._jobs.get_many([job.id])).get(job.id))
            if follower.gone:
                raise JobNotFound(f"there is no job {job.id}")
            yield follower
        finally:
            followers.discard(follower)
            if not followers and self._followers.get(job.id) is followers:
                del self._followers[job.id]

    async def run(self) -> None:
        """Read the rows of followed jobs after every change of the database, for ever."""
        while True:
            await self._has_followers.wait()
            try:
                if await self._follow_changes():
                    continue
            except Unavailable as exc:
                logger.warning("streams do not see changes of their jobs at present: %s", exc)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow_changes(self) -> bool:
        """Read the rows after every change, until there are no followers: then return True."""
        async with aclosing(self._jobs.changes(self._on_row)) as changes:
            async for _ in changes:
                if not self._followers:
                    self._has_followers.clear()
                    return True
                await self._read()
                await asyncio.sleep(max(_SHORTEST_PAUSE, len(self._followers) * _PAUSE_PER_JOB))
        return False

    def _on_row(self, job: Job) -> None:
        for follower in tuple(self._followers.get(job.id, ())):
            follower.on_row(job)

    async def _read(self) -> None:
        """Read the rows of all followed jobs once."""
        if not self._followers:
            return
        jobs = await self._jobs.get_many(list(self._followers))
        for job_id, followers in list(self._followers.items()):
            for follower in tuple(followers):
                follower.on_row(jobs.get(job_id))


class Wakeups(ExitStack):
    """The wake-ups of one tail: by `wake`, and by changes of the run directory while a job runs in it."""

    def __init__(self, watcher: FileWatcher) -> None:
        super().__init__()
        self._watcher = watcher
        self._run: RunDirectory | None = None
        self._subscription = self.enter_context(watcher.subscribe())

    def watch(self, run: RunDirectory | None) -> None:
        """Watch this run directory, and no other."""
        if run == self._run:
            return
        self._run = run
        paths = () if run is None else ((run.log, Watched.CONTENT), (run.path, Watched.ENTRIES))
        self.close()
        self._subscription = self.enter_context(self._watcher.subscribe(*paths))

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._subscription.wake()

    async def wait(self) -> None:
        """Return after a change, or after a minute."""
        await self._subscription.wait(_LONGEST_WAIT)
