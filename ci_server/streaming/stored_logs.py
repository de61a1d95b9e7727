"""Logs of attempts that have ended, read from the artifact store, where they are not here any more.

What is read comes in blocks, of which the last ones stay in memory: readers of one log share them, and a search in the
index of the times asks the store once or twice.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from typing import Final

from ci_common.artifacts.logs import LogLost, log_key, times_key
from ci_common.artifacts.store import ArtifactStore, Content, ContentLost
from ci_common.jobs import Job, State
from ci_common.run_directory.last_lines import LastLines
from ci_common.run_directory.output import TIME_ENTRY, Span, sequence_start
from ci_common.times import from_micros, to_micros
from ci_persistence.stores.kept.logs import LogStore

BLOCK_BYTES: Final = 1024 * 1024
_CAPACITY: Final = 32 * BLOCK_BYTES


class StoredLogs:
    """The logs of one installation that are in the artifact store, as one server process reads them."""

    def __init__(self, noted: LogStore, contents: ArtifactStore, *, guesses: bool) -> None:
        """`guesses`: a log that the database does not name is asked for all the same, by the name it would have."""
        self._noted = noted
        self._contents = contents
        self._guesses = guesses
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0

    async def find(self, job: Job) -> "StoredLog | None":
        """Return the log of the attempt that `job` is at; None if it has not ended, or if the store has no such log.

        Raises StoreUnavailable, and LogLost if the store has lost it.
        """
        if job.state is not State.COMPLETED or not job.log_bytes:
            return None
        noted = await self._noted.find(job.id, job.attempt)
        if noted is None and not self._guesses:
            return None
        try:
            content = await self._contents.open(log_key(job.id, job.attempt), job.log_bytes)
        except ContentLost as exc:
            if noted is None:
                return None
            raise LogLost(str(exc)) from exc
        return StoredLog(self, job, content, 0 if noted is None else noted.times_bytes)

    async def read_times(self, job: Job, size: int, start: int, end: int) -> bytes:
        """Return a part of the index of a log's times, which has `size` bytes. Raises StoreUnavailable, LogLost."""
        key = times_key(job.id, job.attempt)
        if (known := self._held(key, start, end)) is not None:
            return known
        try:
            content = await self._contents.open(key, size)
        except ContentLost as exc:
            raise LogLost(str(exc)) from exc
        try:
            return await self.read(key, content, start, end)
        finally:
            content.close()

    async def read(self, key: str, content: Content, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to, not including, `end`. Raises StoreUnavailable, LogLost."""
        parts = []
        for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            first = number * BLOCK_BYTES
            block = self._blocks.get((key, number))
            if block is None:
                block = await _bytes_of(content, first, min(first + BLOCK_BYTES, content.size))
                self._hold(key, number, block)
            else:
                self._blocks.move_to_end((key, number))
            parts.append(block[max(0, start - first) : end - first])
        return b"".join(parts)

    def _held(self, key: str, start: int, end: int) -> bytes | None:
        """Return what is in memory, if that is all of it, for what lies within one block."""
        number = start // BLOCK_BYTES
        block = self._blocks.get((key, number))
        first = number * BLOCK_BYTES
        return None if block is None or end > first + len(block) else block[start - first : end - first]

    def _hold(self, key: str, number: int, block: bytes) -> None:
        if (key, number) in self._blocks:
            return
        self._blocks[key, number] = block
        self._size += len(block)
        while self._size > _CAPACITY:
            _, oldest = self._blocks.popitem(last=False)
            self._size -= len(oldest)


class StoredLog:
    """One log. All methods raise StoreUnavailable and LogLost."""

    def __init__(self, logs: StoredLogs, job: Job, content: Content, times_bytes: int) -> None:
        self._logs = logs
        self._job = job
        self._content = content
        self._entries = times_bytes // TIME_ENTRY.size
        self._times_bytes = times_bytes
        self.size = content.size

    def content(self) -> Content:
        """Return the log for an answer, which closes it."""
        return self._content

    def close(self) -> None:
        """May be called twice."""
        self._content.close()

    async def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to, not including, `end`, or up to the end of the log."""
        key = log_key(self._job.id, self._job.attempt)
        return await self._logs.read(key, self._content, start, min(end, self.size)) if start < self.size else b""

    async def last_lines(self, lines: int) -> int:
        """Return the offset at which the last `lines` lines begin, as `LastLines` finds it."""
        search = LastLines(self.size, lines)
        while search.begin is None:
            start, until = search.wanted(BLOCK_BYTES)
            search.take(start, await self.read(start, until))
        return search.begin

    async def character_start(self, offset: int) -> int:
        """Return `offset`, or where the UTF-8 sequence begins whose middle it is."""
        before = await self.read(max(0, offset - 3), offset)
        return sequence_start(before, await self.read(offset, offset + 1), offset)

    async def offset_at(self, instant: datetime) -> int:
        """Return the length of the log at `instant`; 0 if nothing is known of its times."""
        position = await self._first(lambda entry: entry[0] >= to_micros(instant))
        return min(self.size, (await self._entry(position - 1))[1] if position else 0)

    async def span_of(self, offset: int) -> Span | None:
        """Return the bytes that were first seen with the one at `offset`, or None if that is not known."""
        position = await self._first(lambda entry: entry[1] > offset)
        if position == self._entries:
            return None
        instant, end = await self._entry(position)
        start = (await self._entry(position - 1))[1] if position else 0
        return Span(start, end, from_micros(instant))

    async def spans(self, start: int, end: int, most: int) -> list[Span]:
        """Return what `LogTimes.spans` of the index would."""
        position = await self._first(lambda entry: entry[1] > start)
        begin = (await self._entry(position - 1))[1] if position else 0
        found: list[Span] = []
        while begin < end and position < self._entries and len(found) < most:
            instant, length = await self._entry(position)
            if begin < length:
                found.append(Span(begin, length, from_micros(instant)))
            begin, position = length, position + 1
        return found

    async def _first(self, holds: Callable[[tuple[int, int]], bool]) -> int:
        """Return the number of the first entry for which it holds, as it does for all that follow."""
        low, high = 0, self._entries
        while low < high:
            middle = (low + high) // 2
            if holds(await self._entry(middle)):
                high = middle
            else:
                low = middle + 1
        return low

    async def _entry(self, number: int) -> tuple[int, int]:
        start = number * TIME_ENTRY.size
        raw = await self._logs.read_times(self._job, self._times_bytes, start, start + TIME_ENTRY.size)
        instant, length = TIME_ENTRY.unpack(raw)
        return instant, length


async def _bytes_of(content: Content, start: int, end: int) -> bytes:
    try:
        async with aclosing(content.chunks(start, end)) as chunks:
            data = b"".join([chunk async for chunk in chunks])
    except OSError as exc:
        raise LogLost(str(exc)) from exc
    if len(data) != end - start:
        raise LogLost(f"the artifact store gave {len(data)} bytes of {end - start}")
    return data
