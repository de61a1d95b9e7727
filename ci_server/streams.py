"""The stream of one job, from some offset of its log to its verdict."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import datetime

from ci_common.cursors import Cursor
from ci_common.errors import JobNotFound, Unavailable
from ci_common.events import JOB_ID
from ci_common.jobs import Job, State
from ci_common.layout import RunDirectory, open_regular
from ci_common.logs import CHUNK_BYTES, LogTimes
from ci_common.times import utc_now
from ci_common.watch import FileWatcher, Watched
from ci_common.wire import attempt_event, complete_event, status_event
from ci_server.feed import Follower
from ci_server.framing import LogFramer, frame, step_events
from ci_server.services import Services
from ci_server.shown import live_steps

_LONGEST_WAIT = 60.0
"""Seconds after which a stream looks again by itself, should a wake-up have been lost."""
_PACE = 0.005
"""Seconds between two looks at a log that is being written, so that its bytes come in batches."""

logger = logging.getLogger(__name__)


async def job_stream(services: Services, job: Job, start: Cursor, *, announce: bool) -> AsyncIterator[bytes]:
    """Yield the job's events from `start` on, through all further attempts, and end after the verdict.

    Ends early where the server leaves or the job is deleted. `announce`: begin with the job's id.
    """
    if announce:
        yield frame({"type": JOB_ID, "job_id": job.id})
    with ExitStack() as stack:
        wakes = _Wakes(services.watcher, stack.enter_context(ExitStack()))
        stack.enter_context(services.leaving.telling(wakes.wake))
        try:
            async with services.feed.follow(job, wakes.wake) as follower:
                async for frames in _Reader(services, follower, wakes, start).run():
                    yield frames
        except (JobNotFound, Unavailable) as exc:
            logger.info("the stream of job %s ends early: %s", job.id, exc)


class _Wakes:
    """Wake-ups of one stream: for changes of the row, and of the run directory as long as a job runs in it."""

    def __init__(self, watcher: FileWatcher, held: ExitStack) -> None:
        self._watcher = watcher
        self._held = held
        self._subscription = held.enter_context(watcher.subscribe())
        self._run: RunDirectory | None = None

    def watch(self, run: RunDirectory | None) -> None:
        """Come for changes of this directory, and of no other."""
        if run == self._run:
            return
        self._run = run
        paths = () if run is None else ((run.log, Watched.CONTENT), (run.path, Watched.ENTRIES))
        self._held.close()
        self._subscription = self._held.enter_context(self._watcher.subscribe(*paths))

    def wake(self) -> None:
        self._subscription.wake()

    async def wait(self) -> None:
        await self._subscription.wait(_LONGEST_WAIT)


class _Reader:
    """Looks at row, log and steps of one attempt, again and again, and says what is new; then at those of the next."""

    def __init__(self, services: Services, follower: Follower, wakes: _Wakes, start: Cursor) -> None:
        self._services = services
        self._follower = follower
        self._wakes = wakes
        self._read_from(start)

    def _read_from(self, start: Cursor) -> None:
        self._attempt = start.attempt
        self._framer = LogFramer(start.offset, attempt=start.attempt)
        self._said: object = None
        self._steps_stamp: object = None

    async def run(self) -> AsyncIterator[bytes]:
        while not (self._follower.gone or self._services.leaving.begun):
            # The row first: when it says that the attempt has ended, the log that is read next is all of it.
            job = self._follower.job.as_of(self._attempt)
            run = self._services.run_of(job)
            self._wakes.watch(run if job.state is State.RUNNING else None)
            begun = time.monotonic()
            data = _read(run, self._framer.position, job.log_bytes or 0 if job.state is State.COMPLETED else None)
            new_steps = self._take_steps(job, run)
            frames = b"".join(self._frames(job, run, data))
            if frames:
                yield frames
                await asyncio.sleep(0)  # A fast reader of a long log must not keep others waiting.
            if len(data) == CHUNK_BYTES or new_steps:
                continue
            ends = b"".join(self._framer.remaining_steps())
            if job.state is State.COMPLETED:
                if self._framer.position < (job.log_bytes or 0):
                    await self._services.repository.get(job.id)  # Its log goes when it is deleted: then this raises.
                if self._attempt == self._follower.job.attempt:
                    yield ends + _verdict(job)
                    return
                yield ends + self._next_attempt()
                continue
            if ends:
                yield ends
            await self._wakes.wait()
            await asyncio.sleep(max(0.0, begun + _PACE - time.monotonic()))

    def _next_attempt(self) -> bytes:
        """Turn to the next attempt, and return the event that says so."""
        self._read_from(Cursor(self._attempt + 1, 0))
        return frame(attempt_event(self._follower.job, self._attempt), Cursor(self._attempt, 0))

    def _take_steps(self, job: Job, run: RunDirectory) -> bool:
        """Read the steps if they may have changed since the last look; tell whether they may."""
        stamp = job.state, job.start_time, _stamp(run) if job.state is State.RUNNING else None
        if stamp == self._steps_stamp:
            return False
        self._steps_stamp = stamp
        self._framer.take_steps(step_events(live_steps(job, run)))
        return True

    def _frames(self, job: Job, run: RunDirectory, data: bytes) -> Iterator[bytes]:
        if job.state is not State.COMPLETED and (event := status_event(job)) != self._said:
            self._said = event
            yield frame(event)
        final = job.state is State.COMPLETED and self._framer.position + len(data) >= (job.log_bytes or 0)
        instant = _time_of(job, run, self._framer.position) if data else utc_now()
        yield from self._framer.frames(data, instant, final=final)


def _verdict(job: Job) -> bytes:
    return frame(complete_event(job), Cursor(job.attempt, job.log_bytes or 0))


def _read(run: RunDirectory, position: int, end: int | None) -> bytes:
    """Return the next chunk of the log, up to `end` where that is known; empty where there is nothing (yet)."""
    size = CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - position)
    if size <= 0:
        return b""
    try:
        descriptor = open_regular(run.log)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, size, position)
    finally:
        os.close(descriptor)


def _stamp(run: RunDirectory) -> tuple[int, int] | None:
    try:
        status = run.steps.lstat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _time_of(job: Job, run: RunDirectory, position: int) -> datetime:
    noted = LogTimes(run.times).time_of(position)
    return noted or (job.end_time if job.state is State.COMPLETED else None) or utc_now()
