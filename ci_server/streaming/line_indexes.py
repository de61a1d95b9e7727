"""The line indexes of logs that were asked for. They are made beside the event loop, and the last ones stay in memory.

An index is derived from its log and can be made again at any time. While it is made, or grows, readers get what there
is of it.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from contextlib import aclosing
from typing import Final, Self

from ci_common.artifacts.logs import LogLost
from ci_common.system.tasks import in_thread
from ci_server.streaming.line_index import BLOCK_BYTES, Extent, LineIndex
from ci_server.streaming.stored_logs import StoredLog

_CAPACITY: Final = 32 * 1024 * 1024
_MOST_LOGS: Final = 256
_SLICE: Final = 64 * BLOCK_BYTES
"""How many bytes one call in a thread looks through: about 20 ms."""
_MOST_KNOWN: Final = 4096

Key = tuple[str, int]
"""A job's id and an attempt."""


class LogBytes(ABC):
    """The first `size` bytes of an open log. It is closed once all that hold it have closed it."""

    def __init__(self, size: int, whole: int) -> None:
        """The log has `whole` bytes, of which `size` are shown."""
        self.size = size
        self.whole = whole
        self._holders = 1

    def hold(self) -> Self:
        """Return the same, for one more that will close it."""
        self._holders += 1
        return self

    def close(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._close()

    @abstractmethod
    async def add_to(self, index: LineIndex) -> None:
        """Add some of the bytes that the index does not cover. Raises OSError, StoreUnavailable, LogLost."""

    @abstractmethod
    async def read(self, start: int, end: int) -> bytes:
        """Return these bytes. Raises OSError, StoreUnavailable, LogLost."""

    @abstractmethod
    def _close(self) -> None: ...


class FileBytes(LogBytes):
    """The log is a file. Its secrets do not matter here: masked, it has the same lines."""

    def __init__(self, descriptor: int, size: int, whole: int) -> None:
        """Take over the descriptor."""
        super().__init__(size, whole)
        self._descriptor = descriptor

    async def add_to(self, index: LineIndex) -> None:
        await in_thread(self._add_slice, index)

    async def read(self, start: int, end: int) -> bytes:
        return os.pread(self._descriptor, end - start, start)

    def _close(self) -> None:
        os.close(self._descriptor)

    def _add_slice(self, index: LineIndex) -> None:
        end = min(self.size, index.extent.size + _SLICE)
        while (place := index.extent.size) < end:
            chunk = os.pread(self._descriptor, min(BLOCK_BYTES - place % BLOCK_BYTES, end - place), place)
            if not chunk:
                raise OSError("the log has become shorter while its lines were counted")
            index.add(chunk)


class StoredBytes(LogBytes):
    """The log is in the artifact store."""

    def __init__(self, stored: StoredLog) -> None:
        super().__init__(stored.size, stored.size)
        self._stored = stored

    async def add_to(self, index: LineIndex) -> None:
        try:
            async with aclosing(self._stored.content().chunks(index.extent.size, self.size)) as chunks:
                async for chunk in chunks:
                    index.add(chunk)
        except OSError as exc:
            raise LogLost(str(exc)) from exc
        if index.extent.size < self.size:
            raise LogLost(f"the artifact store gave {index.extent.size} bytes of {self.size}")

    async def read(self, start: int, end: int) -> bytes:
        return await self._stored.read(start, end)

    def _close(self) -> None:
        self._stored.close()


class KnownLines:
    """The index of one log, and the lines of the places that were asked for."""

    def __init__(self) -> None:
        self.index = LineIndex()
        self.growing: asyncio.Task[None] | None = None
        self._lines: dict[int, int] = {}

    @property
    def extent(self) -> Extent:
        return self.index.extent

    async def line_at(self, offset: int, log: LogBytes) -> int:
        """Return the number of the line, from 1, that has the byte at `offset`, which the index covers."""
        line = self._lines.get(offset)
        if line is None:
            start, newlines = self.index.before(offset)
            line = newlines + (await log.read(start, offset)).count(b"\n") + 1
            if len(self._lines) >= _MOST_KNOWN:
                self._lines.clear()
            self._lines[offset] = line
        return line

    async def grow(self, log: LogBytes) -> None:
        """Have the index cover the log; closes that."""
        try:
            while self.extent.size < log.size:
                await log.add_to(self.index)
        finally:
            log.close()


class LineIndexes:
    """The indexes that one server process has in memory."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, KnownLines] = OrderedDict()

    async def find(self, key: Key, log: LogBytes, patience: float) -> KnownLines:
        """Return the index of a log after at most `patience` seconds.

        It may cover less than the log; then it goes on to grow. Raises what reading the log raises.
        """
        known = self._known.get(key)
        if known is None or known.extent.size > log.whole:  # The job has truncated its log.
            known = KnownLines()
        self._known[key] = known
        self._known.move_to_end(key)
        if known.extent.size < log.size:
            if known.growing is None or known.growing.done():
                known.growing = asyncio.create_task(known.grow(log.hold()), name=f"lines of {key[0]}")
                known.growing.add_done_callback(_take_note)
            growing = known.growing
            done, _ = await asyncio.wait({growing}, timeout=patience)
            if done:
                growing.result()
        self._forget_oldest()
        return known

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = [known.growing for known in self._known.values() if known.growing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_oldest(self) -> None:
        memory = sum(known.index.memory for known in self._known.values())
        for key, known in list(self._known.items())[:-1]:
            if memory <= _CAPACITY and len(self._known) <= _MOST_LOGS:
                return
            if known.growing is None or known.growing.done():
                memory -= known.index.memory
                del self._known[key]


def _take_note(task: asyncio.Task[None]) -> None:
    """Retrieve the error of a task, for which no request may wait any more: the next one tries again."""
    if not task.cancelled():
        task.exception()
