"""Tells streams when their jobs' rows change, with one reader of the database for the whole process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from ci_common.errors import JobNotFound, Unavailable
from ci_common.jobs import Job
from ci_persistence.repository import JobRepository

_SHORTEST_PAUSE = 0.001
_PAUSE_PER_JOB = 0.0002
"""Seconds between two looks for each row that is read, about four times as long as that takes: so looks take at most a
fifth of the time. How long one took is not asked, since on a busy machine it mostly waited."""
_RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Follower:
    """One listener's view of one job: `job` is its row as last read."""

    def __init__(self, job: Job, wake: Callable[[], None]) -> None:
        self.job = job
        self.gone = False
        """The row has been deleted; `job` is what it was."""
        self._wake = wake

    def see(self, job: Job | None) -> None:
        """Take a newer row, and wake the listener if it differs."""
        if job is None:
            self.gone = True
        elif (job.version, job.cancel_requested_time) == (self.job.version, self.job.cancel_requested_time):
            return
        elif job.version >= self.job.version:
            self.job = job
        self._wake()


class JobFeed:
    """The rows of all jobs that somebody follows. Run `run` as a task for as long as the feed is used."""

    def __init__(self, repository: JobRepository) -> None:
        self._repository = repository
        self._followers: dict[str, set[Follower]] = {}
        self._wanted = asyncio.Event()

    @asynccontextmanager
    async def follow(self, job: Job, wake: Callable[[], None]) -> AsyncIterator[Follower]:
        """Keep a follower's job up to date and call `wake` after every change. Raises JobNotFound, Unavailable."""
        follower = Follower(job, wake)
        followers = self._followers.setdefault(job.id, set())
        followers.add(follower)
        self._wanted.set()
        try:
            # What changed before the follower was there, the feed has not told.
            follower.see((await self._repository.get_many([job.id])).get(job.id))
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
            await self._wanted.wait()
            try:
                if await self._follow_changes():
                    continue
            except Unavailable as exc:
                logger.warning("streams cannot see changes of their jobs at present: %s", exc)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow_changes(self) -> bool:
        """Look at every change until nobody listens any more: then return True."""
        async with aclosing(self._repository.changes(self._see)) as changes:
            async for _ in changes:
                if not self._followers:
                    self._wanted.clear()
                    return True
                await self._look()
                await asyncio.sleep(max(_SHORTEST_PAUSE, len(self._followers) * _PAUSE_PER_JOB))
        return False

    def _see(self, job: Job) -> None:
        for follower in tuple(self._followers.get(job.id, ())):
            follower.see(job)

    async def _look(self) -> None:
        """Read the rows of all followed jobs once."""
        if not self._followers:
            return
        jobs = await self._repository.get_many(list(self._followers))
        for job_id, followers in list(self._followers.items()):
            for follower in tuple(followers):
                follower.see(jobs.get(job_id))
