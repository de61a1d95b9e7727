"""The tail of one job, however many read it: the log is read and framed once, and all readers at its end share that.

A reader is either at the head of the tail, and then only an entry in a set, or behind it. A reader that is behind reads
on from its own position, from the recent batches or from the file, as fast as its connection takes it, and comes back
to the head. So a slow reader delays no other, holds nothing and loses nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass

from starlette.types import Message

from ci_common.errors import JobNotFound, Unavailable
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.masked_log import LiveLogs
from ci_common.system.watch import FileWatcher
from ci_persistence.stores.jobs import JobStore
from ci_server.http.exchange import Shutdown
from ci_server.streaming.event_source import Batch, EventSource, Next, Position, RecentBatches
from ci_server.streaming.framing import END, FLUSH, PING, Reader, body, send_nowait
from ci_server.streaming.row_watcher import Follower, RowWatcher, Wakeups
from ci_server.streaming.stored_logs import StoredLog

_PAUSE_PER_WORK = 4
_LONGEST_PAUSE = 0.02
_SHORTEST_PAUSE = 0.0005
_READERS_PER_TURN = 64
"""So many readers are sent to before other tasks get their turn."""
PROBED_BYTES = 4096
"""Batches from this size on are not left waiting at connections without room."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """What all tails share."""

    jobs: JobStore
    watcher: FileWatcher
    rows: RowWatcher
    shutdown: Shutdown
    run_of: Callable[[Job], RunDirectory]
    recent: RecentBatches
    stored_of: Callable[[Job], Awaitable[StoredLog | None]]
    """Returns the log of an attempt that has ended, where the artifact store has it."""
    live_logs: LiveLogs | None = None
    """The logs of attempts that run, with secrets masked; None where there are none."""


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
        self._events: EventSource | None = None
        self._head = Position(0, 0)
        self._next = Next.WAIT
        """What follows the head."""
        self._moved = asyncio.Event()
        """Set, and replaced, when the head has moved or nothing will move it any more."""
        self._needed = asyncio.Event()
        self._wakeups = Wakeups(sources.watcher)
        self._ping_is_due = False
        self._is_closed = False
        self._leading = asyncio.create_task(self._run(), name=f"tail-{job.id}")
        self._leading.add_done_callback(_report_failure)

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def join(self, job: Job, reader: Reader, position: Position, first: bytes) -> None:
        """Send `first` to `reader`, and then all events from `position` on. `job` is the row as just read."""
        if self._follower is None:
            self._latest = max(self._latest, job, key=lambda row: row.version)
        else:
            self._follower.on_row(job)
        self._readers.add(reader)
        reader.task = asyncio.create_task(self._begin(reader, position, first))

    def leave(self, reader: Reader) -> None:
        """Send nothing more to `reader`. The last reader ends the tail."""
        self._readers.discard(reader)
        self._at_head.pop(reader, None)
        if reader.task is not None:
            reader.task.cancel()
        if not self._readers:
            self.end()

    def expel(self, reader: Reader, last: bytes) -> None:
        """Send `last` and nothing more to a reader. Where something is being sent to it, end its connection instead."""
        if reader in self._at_head:
            self._push(reader, body(last, more=False), self._head, None)
        elif reader in self._readers:
            reader.abandon()

    def end(self) -> None:
        """Send nothing more to any reader."""
        self._close()
        self._leading.cancel()

    def wake(self) -> None:
        """Check for new events."""
        self._wakeups.wake()
        self._needed.set()

    def ping(self) -> None:
        """Send a comment to the readers at the head."""
        self._ping_is_due = True
        self.wake()

    def abandon(self) -> None:
        """Cancel the requests of all remaining readers."""
        for reader in tuple(self._readers):
            reader.abandon()

    async def _run(self) -> None:
        sources = self._sources
        try:
            with self._wakeups:
                async with sources.rows.follow(self._latest, self.wake) as follower:
                    follower.on_row(self._latest)
                    self._follower = follower
                    events = EventSource(lambda: follower.job, sources.run_of, sources.stored_of, sources.live_logs)
                    with closing(events):
                        self._head = await events.end_of_log()
                        self._events = events
                        await self._lead(follower, events)
        except (JobNotFound, Unavailable) as exc:
            logger.info("the streams of job %s end early: %s", self.job_id, exc)
        finally:
            self._close()

    async def _lead(self, follower: Follower, events: EventSource) -> None:
        """Move the head on as long as there are readers."""
        while not (follower.gone or self._sources.shutdown.started):
            began = time.thread_time()
            if self._ping_is_due:
                self._ping_is_due = False
                await self._send_to_head(PING, self._head, self._head)
            if self._at_head or self._next in (Next.WAIT, Next.AGAIN):
                await self._advance(events)
            if self._next is Next.AGAIN or (self._next is Next.MORE and self._at_head):
                await asyncio.sleep(0)
            else:
                await self._wait(time.thread_time() - began)

    async def _wait(self, worked: float) -> None:
        """Wait until something has changed.

        What is written after a while of silence is sent without delay. Otherwise the pauses are a few times as long as
        the work was, so that a job that writes all the time has its bytes sent in batches. `worked` is CPU time in
        seconds: on a busy machine, elapsed time would mostly be waiting.
        """
        began = time.monotonic()
        if self._next is Next.MORE:
            await self._needed.wait()
        else:
            await self._wakeups.wait()
        self._needed.clear()
        pause = min(worked * _PAUSE_PER_WORK, _LONGEST_PAUSE) - (time.monotonic() - began)
        if pause > _SHORTEST_PAUSE:
            await asyncio.sleep(pause)

    async def _advance(self, events: EventSource) -> None:
        """Send the next batch to the readers at the head."""
        position = self._head
        await events.prepare(position)
        if position != self._head:  # A reader has just moved it.
            self._next = Next.AGAIN
            return
        self._wakeups.watch(events.running_in(position.attempt))
        batch = events.next(position)
        if batch.short and await events.find_stored(position.attempt):
            self._next = Next.AGAIN
            return
        await self._check(batch)
        self._remember(position, batch)
        self._head, self._next = batch.after, batch.next
        if batch.frames:
            await self._send_to_head(batch.frames, position, None if batch.next is Next.END else batch.after)
        self._notify_moved()

    async def _send_to_head(self, frames: bytes, before: Position, after: Position | None) -> None:
        """Send to all readers at the head; `after` is None where nothing follows."""
        message = body(frames, more=after is not None)
        for number, reader in enumerate(tuple(self._at_head), 1):
            if reader in self._at_head:  # It may have left during a pause.
                self._push(reader, message, before, after)
            if number % _READERS_PER_TURN == 0:
                await asyncio.sleep(0)

    def _push(self, reader: Reader, message: Message, before: Position, after: Position | None) -> None:
        """Send to a reader at the head; if its connection has no room, the reader falls behind."""
        try:
            if len(message["body"]) >= PROBED_BYTES and (rest := send_nowait(reader.send(FLUSH))) is not None:
                self._fall_behind(reader, rest, before)
            elif (rest := send_nowait(reader.send(message))) is not None:
                self._fall_behind(reader, rest, after)
            elif after is None:
                del self._at_head[reader]
        except OSError:
            self._at_head.pop(reader, None)  # Its connection is gone, and its request is about to notice.

    def _fall_behind(self, reader: Reader, rest: Awaitable[None], position: Position | None) -> None:
        del self._at_head[reader]
        reader.task = asyncio.create_task(self._catch_up(reader, position, rest))

    async def _begin(self, reader: Reader, position: Position, first: bytes) -> None:
        await self._catch_up(reader, position, reader.send(body(first)))

    async def _catch_up(self, reader: Reader, position: Position | None, sending: Awaitable[None]) -> None:
        """Finish `sending`, and then send all events from `position` on until the reader is at the head."""
        try:
            await sending
            while position is not None and not self._take_to_head(reader, position):
                await reader.send(FLUSH)  # So that no batch is held while there is no room.
                position = await self._send_next(reader, position)
                await asyncio.sleep(0)  # A fast reader of a long log must not delay other tasks.
        except (JobNotFound, Unavailable) as exc:
            logger.info("a stream of job %s ends early: %s", self.job_id, exc)
            await reader.send(END)
        except OSError:
            pass  # Its connection is gone, and its request is about to notice.
        except Exception:
            logger.exception("a stream of job %s has failed", self.job_id)
            reader.abandon()

    def _take_to_head(self, reader: Reader, position: Position) -> bool:
        """Move the reader to the head if that is its position; return whether it was."""
        if position != self._head or self._is_closed or self._next is Next.END:
            return False
        reader.task = None
        self._at_head[reader] = None
        if self._next is Next.MORE:
            self.wake()
        return True

    async def _send_next(self, reader: Reader, position: Position) -> Position | None:
        """Send one batch to a reader that is behind; return its position then, or None where nothing follows."""
        if self._is_closed:
            await reader.send(END)
            return None
        moved = self._moved
        batch = self._sources.recent.find(self.job_id, position)
        if batch is None and self._events is not None:
            await self._events.prepare(position)
            batch = self._next_behind(position)
        if batch is None:
            await moved.wait()
            return position
        if batch.short and self._events is not None and await self._events.find_stored(position.attempt):
            return position
        await self._check(batch)
        self._remember(position, batch)
        is_last = batch.next is Next.END
        if batch.frames:
            await reader.send(body(batch.frames, more=not is_last))
        return None if is_last else batch.after

    def _next_behind(self, position: Position) -> Batch | None:
        """Return what comes next for a reader that is not at the head, or None where the head has to move first."""
        head = self._head
        if self._events is None or self._follower is None:
            return None
        if self._next is Next.END or position.attempt < head.attempt:
            return self._events.next(position)
        if position.cursor <= head.cursor:
            batch = self._events.next_until(position, head)
            if batch is None and (end := self._events.within_log(head)) != head:
                self._head = end  # The job has truncated its log.
                self._notify_moved()
            return batch
        if (end := self._events.within_log(position)) != position:
            return Batch(b"", end, Next.WAIT)  # The log does not reach the reader's position.
        if self._at_head or position.attempt > self._follower.job.attempt:
            self.wake()
            return None
        self._head, self._next = position, Next.MORE  # No reader is at the head, so it moves to this one.
        return Batch(b"", position, Next.WAIT)

    def _remember(self, position: Position, batch: Batch) -> None:
        if len(self._readers) > 1 and batch.frames and batch.next is not Next.END and not batch.short:
            self._sources.recent.add(self.job_id, position, batch)

    async def _check(self, batch: Batch) -> None:
        """Raise JobNotFound where the log is short because its job was deleted."""
        if batch.short:
            await self._sources.jobs.get(self.job_id)

    def _notify_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _close(self) -> None:
        """End all streams where they are."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_close(self)
        for reader in tuple(self._at_head):
            self._push(reader, END, self._head, None)
        self._notify_moved()


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the task %s has failed", task.get_name(), exc_info=error)
