"""The tail of one job, however many read it: the log is read and framed once, and all who are at its end share that.

A reader is either at the head of the tail, and then no more than an entry in a set, or behind it. Who is behind reads
on from its own place, out of the batches that others have just had or out of the file, as fast as its connection takes
it, and comes back to the head. So a slow reader holds up nobody, holds nothing and loses nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Message

from ci_common.errors import JobNotFound, Unavailable
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.system.watch import FileWatcher
from ci_persistence.repository import JobRepository
from ci_server.http.shutdown import Shutdown
from ci_server.streaming.batches import RecentBatches
from ci_server.streaming.connections import LAST, ROOM, Reader, begun, body
from ci_server.streaming.event_source import Batch, Narration, Place, Then
from ci_server.streaming.framing import PING
from ci_server.streaming.row_watcher import Follower, JobFeed
from ci_server.streaming.wakeups import Wakes

_LOAD = 4
_LONGEST_PAUSE = 0.02
_SHORTEST_PAUSE = 0.0005
_AT_ONCE = 64
"""So many readers are sent to before others have their turn."""
PROBED_BYTES = 4096
"""Batches from this size on are not left waiting at connections without room."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """Where tails get everything from, and what they share."""

    repository: JobRepository
    watcher: FileWatcher
    feed: JobFeed
    shutdown: Shutdown
    run_of: Callable[[Job], RunDirectory]
    recent: RecentBatches


class SharedTail:
    """Sends one job's events to its readers. `on_close` is called when it takes no more of them."""

    def __init__(self, sources: Sources, job: Job, on_close: Callable[["SharedTail"], None]) -> None:
        self.job_id = job.id
        self._sources = sources
        self._on_close = on_close
        self._readers: set[Reader] = set()
        self._at_head: dict[Reader, None] = {}
        self._latest = job
        """The newest row that a reader came with, until there is a follower."""
        self._follower: Follower | None = None
        self._narration: Narration | None = None
        self._head = Place(0, 0)
        self._then = Then.WAIT
        """What follows the head."""
        self._moved = asyncio.Event()
        """Set, and replaced, when the head has moved or nothing will move it any more."""
        self._needed = asyncio.Event()
        self._wakes = Wakes(sources.watcher)
        self._ping_is_due = False
        self._is_closed = False
        self._leading = asyncio.create_task(self._run(), name=f"tail-{job.id}")
        self._leading.add_done_callback(_report_failure)

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def join(self, job: Job, reader: Reader, place: Place, first: bytes) -> None:
        """Tell `reader` all from `place` on, after `first`. `job` is the row as it has just been read."""
        if self._follower is None:
            self._latest = max(self._latest, job, key=lambda row: row.version)
        else:
            self._follower.see(job)
        self._readers.add(reader)
        reader.task = asyncio.create_task(self._begin(reader, place, first))

    def leave(self, reader: Reader) -> None:
        """Send nothing more to `reader`. The last one ends the tail."""
        self._readers.discard(reader)
        self._at_head.pop(reader, None)
        if reader.task is not None:
            reader.task.cancel()
        if not self._readers:
            self.end()

    def end(self) -> None:
        """Send nothing more to anybody."""
        self._close()
        self._leading.cancel()

    def wake(self) -> None:
        """Have the tail look for what is new."""
        self._wakes.wake()
        self._needed.set()

    def ping(self) -> None:
        """Send a comment to the readers that there is nothing else for."""
        self._ping_is_due = True
        self.wake()

    def abandon(self) -> None:
        """End the requests of all readers that are still there."""
        for reader in tuple(self._readers):
            reader.abandon()

    async def _run(self) -> None:
        sources = self._sources
        try:
            with self._wakes:
                async with sources.feed.follow(self._latest, self.wake) as follower:
                    follower.see(self._latest)
                    self._follower = follower
                    self._narration = Narration(lambda: follower.job, sources.run_of)
                    self._head = self._narration.end_of_log()
                    await self._lead(follower, self._narration)
        except (JobNotFound, Unavailable) as exc:
            logger.info("the streams of job %s end early: %s", self.job_id, exc)
        finally:
            self._close()

    async def _lead(self, follower: Follower, narration: Narration) -> None:
        """Move the head on as long as somebody is there to be told."""
        while not (follower.gone or self._sources.shutdown.started):
            began = time.thread_time()
            if self._ping_is_due:
                self._ping_is_due = False
                await self._send_to_head(PING, self._head, self._head)
            if self._at_head or self._then in (Then.WAIT, Then.AGAIN):
                await self._advance(narration)
            if self._then is Then.AGAIN or (self._then is Then.MORE and self._at_head):
                await asyncio.sleep(0)
            else:
                await self._rest(time.thread_time() - began)

    async def _rest(self, worked: float) -> None:
        """Wait until something has changed.

        What is written after a while of silence is told without delay. Otherwise the pauses are a few times as long as
        the work was, so that the bytes of a job that writes all the time come in batches. `worked` is in seconds of the
        processor: on a busy machine, work that takes long has mostly waited.
        """
        began = time.monotonic()
        if self._then is Then.MORE:
            await self._needed.wait()
        else:
            await self._wakes.wait()
        self._needed.clear()
        pause = min(worked * _LOAD, _LONGEST_PAUSE) - (time.monotonic() - began)
        if pause > _SHORTEST_PAUSE:
            await asyncio.sleep(pause)

    async def _advance(self, narration: Narration) -> None:
        """Tell the readers at the head what comes next."""
        place = self._head
        self._wakes.watch(narration.running_in(place.attempt))
        batch = narration.next(place)
        await self._check(batch)
        self._remember(place, batch)
        self._head, self._then = batch.after, batch.then
        if batch.frames:
            await self._send_to_head(batch.frames, place, None if batch.then is Then.END else batch.after)
        self._tell_moved()

    async def _send_to_head(self, frames: bytes, before: Place, after: Place | None) -> None:
        """Send to all who are at the head; `after` is None where nothing follows."""
        message = body(frames, more=after is not None)
        for number, reader in enumerate(tuple(self._at_head), 1):
            if reader in self._at_head:  # It may have left meanwhile.
                self._push(reader, message, before, after)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _push(self, reader: Reader, message: Message, before: Place, after: Place | None) -> None:
        """Send to a reader at the head as far as that can be done at once; where it cannot, the reader falls behind."""
        try:
            if len(message["body"]) >= PROBED_BYTES and (rest := begun(reader.send(ROOM))) is not None:
                self._fall_behind(reader, rest, before)
            elif (rest := begun(reader.send(message))) is not None:
                self._fall_behind(reader, rest, after)
            elif after is None:
                del self._at_head[reader]
        except OSError:
            self._at_head.pop(reader, None)  # Its connection is gone, as its request is about to learn.

    def _fall_behind(self, reader: Reader, rest: Awaitable[None], place: Place | None) -> None:
        del self._at_head[reader]
        reader.task = asyncio.create_task(self._catch_up(reader, place, rest))

    async def _begin(self, reader: Reader, place: Place, first: bytes) -> None:
        await self._catch_up(reader, place, reader.send(body(first)))

    async def _catch_up(self, reader: Reader, place: Place | None, sending: Awaitable[None]) -> None:
        """Finish `sending`, and then tell the reader all from `place` on until it is at the head."""
        try:
            await sending
            while place is not None and not self._take_to_head(reader, place):
                await reader.send(ROOM)  # So that nothing is held while there is none.
                place = await self._send_next(reader, place)
                await asyncio.sleep(0)  # A fast reader of a long log must not keep others waiting.
        except (JobNotFound, Unavailable) as exc:
            logger.info("a stream of job %s ends early: %s", self.job_id, exc)
            await reader.send(LAST)
        except OSError:
            pass  # Its connection is gone, as its request is about to learn.
        except Exception:
            logger.exception("a stream of job %s has failed", self.job_id)
            reader.abandon()

    def _take_to_head(self, reader: Reader, place: Place) -> bool:
        """Have the reader told together with the others, if that is how far it has come."""
        if place != self._head or self._is_closed or self._then is Then.END:
            return False
        reader.task = None
        self._at_head[reader] = None
        if self._then is Then.MORE:
            self.wake()
        return True

    async def _send_next(self, reader: Reader, place: Place) -> Place | None:
        """Send one batch to a reader that is behind; return its place then, or None where nothing follows."""
        if self._is_closed:
            await reader.send(LAST)
            return None
        moved = self._moved
        batch = self._sources.recent.find(self.job_id, place) or self._next_behind(place)
        if batch is None:
            await moved.wait()
            return place
        await self._check(batch)
        self._remember(place, batch)
        is_last = batch.then is Then.END
        if batch.frames:
            await reader.send(body(batch.frames, more=not is_last))
        return None if is_last else batch.after

    def _next_behind(self, place: Place) -> Batch | None:
        """Return what comes next for a reader that is not at the head, or None where that has to move first."""
        head = self._head
        if self._narration is None or self._follower is None:
            return None
        if self._then is Then.END or place.attempt < head.attempt:
            return self._narration.next(place)
        if place.cursor <= head.cursor:
            batch = self._narration.up_to(place, head)
            if batch is None and (end := self._narration.within_log(head)) != head:
                self._head = end  # The job has truncated its log.
                self._tell_moved()
            return batch
        if (end := self._narration.within_log(place)) != place:
            return Batch(b"", end, Then.WAIT)  # No place of the log's is where this reader says that it is.
        if self._at_head or place.attempt > self._follower.job.attempt:
            self.wake()
            return None
        self._head, self._then = place, Then.MORE  # Nobody else is there, so the head is where this reader is.
        return Batch(b"", place, Then.WAIT)

    def _remember(self, place: Place, batch: Batch) -> None:
        if len(self._readers) > 1 and batch.frames and batch.then is not Then.END and not batch.short:
            self._sources.recent.add(self.job_id, place, batch)

    async def _check(self, batch: Batch) -> None:
        """Raise JobNotFound where the log is short because it goes when its job is deleted."""
        if batch.short:
            await self._sources.repository.get(self.job_id)

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _close(self) -> None:
        """End all streams where they are."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_close(self)
        for reader in tuple(self._at_head):
            self._push(reader, LAST, self._head, None)
        self._tell_moved()


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the task %s has failed", task.get_name(), exc_info=error)
