"""The changes of all jobs, as they are committed by any process: read once, and sent to all readers of this process.

The source is the outbox, whose entries are in the order of their commits, so that a reader can go on where it was. As
with the tail of a job, a reader is either at the head, and then only an entry in a table, or behind it, and then has a
task that reads on from its own place until it is at the head.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Final

from ci_common.errors import Unavailable
from ci_persistence.stores.jobs import JobStore
from ci_persistence.stores.outbox import Entry, OutboxStore, Place
from ci_server.http.exchange import GRACE_SECONDS, Shutdown
from ci_server.streaming import feed_events
from ci_server.streaming.feed_events import MOST_MISSED, Change, Wanted, changes_of, last_of_each
from ci_server.streaming.framing import END, FLUSH, Reader, body, send_nowait

PING_SECONDS: Final = 15.0
LONGEST_SECONDS: Final = 600.0
"""After this time a stream ends, so that what its reader may see is checked again."""
_AT_ONCE: Final = 500
_PAUSE_SECONDS: Final = 0.05
"""Between two reads, so that many changes at once are sent together."""
_RETRY_SECONDS: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_READERS_PER_TURN: Final = 64

logger = logging.getLogger(__name__)


class FeedReader:
    """One connection, and how far it is."""

    __slots__ = ("began", "place", "reader", "wanted")

    def __init__(self, reader: Reader, wanted: Wanted, place: Place | None) -> None:
        self.reader = reader
        self.wanted = wanted
        self.place = place
        """Behind what it has; None until it has begun."""
        self.began = asyncio.get_running_loop().time()

    @property
    def is_over(self) -> bool:
        """Whether the stream has to end, and be asked for again."""
        return asyncio.get_running_loop().time() - self.began > LONGEST_SECONDS


class JobFeed:
    """The changes of one database as one server process sends them. For one event loop."""

    def __init__(self, outbox: OutboxStore, jobs: JobStore, shutdown: Shutdown) -> None:
        self._outbox = outbox
        self._jobs = jobs
        self._shutdown = shutdown
        self._readers: set[FeedReader] = set()
        self._at_head: dict[FeedReader, None] = {}
        self._head: Place | None = None
        """Behind what was sent to the readers at the head; None while there are none."""
        self._began = asyncio.Event()
        self._moved = asyncio.Event()
        """Set, and replaced, when the head has moved."""
        self._leading: asyncio.Task[None] | None = None
        self._committed = asyncio.Event()

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    def join(self, reader: Reader, wanted: Wanted, place: Place | None) -> FeedReader:
        """Send all changes behind `place` that are wanted, or those from now on. `leave` must be called at the end."""
        joined = FeedReader(reader, wanted, place)
        self._readers.add(joined)
        if self._leading is None:
            self._leading = asyncio.create_task(self._lead(), name="changes of jobs")
            self._leading.add_done_callback(_report_failure)
        reader.task = asyncio.create_task(self._begin(joined))
        return joined

    def leave(self, joined: FeedReader) -> None:
        """Send nothing more to a reader. The last one ends the reading of changes."""
        self._readers.discard(joined)
        self._at_head.pop(joined, None)
        if joined.reader.task is not None:
            joined.reader.task.cancel()
        if not self._readers and self._leading is not None:
            self._leading.cancel()
            self._leading = self._head = None
            self._began.clear()

    def expel(self, joined: FeedReader, last: bytes) -> None:
        """Send `last` and nothing more to a reader. Where something is being sent to it, end its connection instead."""
        if joined in self._at_head:
            self._end(joined, last)
        elif joined in self._readers:
            joined.reader.abandon()

    @contextmanager
    def ending_with_the_server(self) -> Iterator[None]:
        """End all streams when the server stops, and a moment later also the requests of clients that do not read."""
        try:
            with self._shutdown.on_shutdown(self._leave_all):
                yield
        finally:
            for joined in tuple(self._readers):
                self.leave(joined)

    async def _lead(self) -> None:
        """Read changes as long as there are readers."""
        watching = asyncio.create_task(self._watch(), name="commits for changes of jobs")
        try:
            while True:
                with suppress(Unavailable):  # `_watch` says so, and tries again.
                    self._head = await self._outbox.last()
                    break
                await asyncio.sleep(_RETRY_SECONDS)
            self._began.set()
            await self._follow(self._head)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        """Note commits, of whichever process."""
        while True:
            try:
                async with aclosing(self._jobs.changes()) as commits:
                    async for _ in commits:
                        self._committed.set()
            except Unavailable as exc:
                logger.warning("streams do not see changes of jobs at present: %s", exc)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, head: Place) -> None:
        loop = asyncio.get_running_loop()
        next_ping, wait = loop.time() + PING_SECONDS, _RETRY_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(wait, next_ping - loop.time()))):
                    await self._committed.wait()
            # An entry is not read while an earlier transaction is open, whose end may wake nothing.
            wait = _RETRY_SECONDS if self._committed.is_set() else min(2 * wait, _LONGEST_WAIT)
            self._committed.clear()
            try:
                while entries := await self._outbox.read(head.cursor, limit=_AT_ONCE):
                    changes = await self._changes(entries)
                    head = self._head = entries[-1].place
                    moved, self._moved = self._moved, asyncio.Event()
                    moved.set()
                    await self._broadcast(changes, head)
            except Unavailable as exc:
                logger.warning("changes of jobs cannot be read at present: %s", exc)
                await asyncio.sleep(_RETRY_SECONDS)
            if loop.time() >= next_ping:
                next_ping = loop.time() + PING_SECONDS
                await self._ping(head)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _changes(self, entries: list[Entry]) -> list[Change]:
        last = last_of_each(entries)
        return changes_of(last, await self._jobs.get_many([entry.job_id for entry in last]))

    async def _broadcast(self, changes: list[Change], head: Place) -> None:
        """Send changes to the readers that were at the head before them; the same bytes to all that want the same."""
        frames: dict[Wanted, bytes] = {}
        for number, joined in enumerate(tuple(self._at_head), 1):
            wanted = joined.wanted
            if wanted not in frames:
                frames[wanted] = b"".join(change.frame for change in changes if wanted.takes(change))
            if joined in self._at_head and joined.place != head:  # It may have left, or have come, during a pause.
                self._push(joined, frames[wanted], head)
            if number % _READERS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _ping(self, head: Place) -> None:
        for number, joined in enumerate(tuple(self._at_head), 1):
            if joined in self._at_head and joined.is_over:
                self._end(joined, feed_events.ping(head))
            elif joined in self._at_head:
                self._push(joined, feed_events.ping(head), head)
            if number % _READERS_PER_TURN == 0:
                await asyncio.sleep(0)

    def _push(self, joined: FeedReader, frames: bytes, after: Place) -> None:
        """Send to a reader at the head, which is at `after` then; if its connection has no room, it falls behind."""
        if not frames:
            joined.place = after
            return
        try:
            rest = send_nowait(joined.reader.send(FLUSH))
            if rest is None:
                joined.place = after
                rest = send_nowait(joined.reader.send(body(frames)))
            if rest is not None:
                del self._at_head[joined]
                joined.reader.task = asyncio.create_task(self._catch_up(joined, rest))
        except OSError:
            self._at_head.pop(joined, None)  # Its connection is gone, and its request is about to notice.

    def _end(self, joined: FeedReader, last: bytes) -> None:
        """Send `last` and nothing more to a reader at the head."""
        del self._at_head[joined]
        with suppress(OSError):
            rest = send_nowait(joined.reader.send(body(last, more=False)))
            if rest is not None:
                joined.reader.task = asyncio.create_task(_finished(rest))

    async def _begin(self, joined: FeedReader) -> None:
        """Tell a reader where it is, and take it to the head."""
        await self._began.wait()
        head = self._head or Place()
        if joined.place is None:
            joined.place, first = head, feed_events.begin(head)
        elif await self._knows(joined.place):
            first = feed_events.ping(joined.place)
        else:
            joined.place, first = head, feed_events.reset(head, feed_events.UNKNOWN)
        await self._catch_up(joined, joined.reader.send(body(first)))

    async def _knows(self, place: Place) -> bool:
        try:
            return await self._outbox.has(place)
        except Unavailable:
            return True  # To read on from there will fail, too, or succeed.

    async def _catch_up(self, joined: FeedReader, sending: Awaitable[None]) -> None:
        """Finish `sending`, and send what the reader has missed, until it is at the head."""
        reader = joined.reader
        try:
            await sending
            while not (self._shutdown.started or joined.is_over):
                if joined.place == self._head:
                    reader.task = None
                    self._at_head[joined] = None
                    return
                if frames := await self._missed(joined):
                    await reader.send(body(frames))
                    await reader.send(FLUSH)  # So that no more is read than there is room for.
            await reader.send(END)
        except Unavailable as exc:
            logger.info("a stream of changes ends early: %s", exc)
            await reader.send(END)
        except OSError:
            pass  # Its connection is gone, and its request is about to notice.
        except Exception:
            logger.exception("a stream of changes has failed")
            reader.abandon()

    async def _missed(self, joined: FeedReader) -> bytes:
        """Return what lies between a reader and the head, and move the reader there. Raises Unavailable."""
        place, head, moved = joined.place or Place(), self._head or Place(), self._moved
        if place.cursor > head.cursor:  # Another process has read on before this one.
            self._committed.set()
            await moved.wait()
            return b""
        entries = await self._outbox.read(place.cursor, limit=MOST_MISSED + 1)
        entries = [entry for entry in entries if entry.cursor <= head.cursor]
        joined.place = head
        if len(entries) > MOST_MISSED:
            return feed_events.reset(head)
        changes = await self._changes(entries)
        return b"".join(change.frame for change in changes if joined.wanted.takes(change))

    def _leave_all(self) -> None:
        for joined in tuple(self._at_head):
            self._end(joined, b"")
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abandon_all)

    def _abandon_all(self) -> None:
        for joined in self._readers:
            joined.reader.abandon()


async def _finished(rest: Awaitable[None]) -> None:
    with suppress(OSError):
        await rest


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the task %s has failed", task.get_name(), exc_info=error)
