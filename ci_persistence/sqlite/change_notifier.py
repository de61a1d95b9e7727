"""Notifies listeners of commits, and hands them the rows that were written through this repository.

The writer reports this repository's own commits. Commits of others are found by asking SQLite's `data_version` on the
writer's connection: there it changes with every commit of another connection, and with nothing else.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ci_common.jobs import Job
from ci_common.system.watch import Subscription

OnRow = Callable[[Job], object]

_ECHO_SECONDS = 0.02
"""For how long after an own commit a change of the -wal file is most likely caused by that commit."""
_FIRST_PAUSE = 0.0005
_PAUSE_AFTER_ECHO = 0.1
_LONGEST_PAUSE = 2.0
"""Seconds between two checks. The -wal file changes before a commit can be seen, and wake-ups may be lost."""
_GROWTH = 4
"""How many times longer each of these pauses is than the one before."""


class _Listener:
    """One iteration over `changes`."""

    def __init__(self, on_row: OnRow | None) -> None:
        self.on_row = on_row
        self._notified = asyncio.Event()
        self._error: BaseException | None = None

    def notify(self, error: BaseException | None = None) -> None:
        self._error = self._error or error
        self._notified.set()

    async def wait(self) -> None:
        """Return after the next notification. Raises the error that ended the checks."""
        await self._notified.wait()
        self._notified.clear()
        if self._error is not None:
            raise self._error


class ChangeNotifier:
    """The commits to one database, for one event loop. One task checks for all listeners."""

    def __init__(
        self, version: Callable[[], Awaitable[int]], wake_ups: Callable[[], AbstractContextManager[Subscription]]
    ) -> None:
        """`version` reads `data_version` on the writer's connection; `wake_ups` are those of the -wal file."""
        self._version = version
        self._wake_ups = wake_ups
        self._listeners: set[_Listener] = set()
        self._checking: asyncio.Task[None] | None = None
        self._is_committing = False
        self._last_commit = -_ECHO_SECONDS

    @contextmanager
    def own_commit(self) -> Iterator[None]:
        """While this context is open, this repository commits."""
        self._is_committing = True
        try:
            yield
        finally:
            self._is_committing = False
            self._last_commit = time.monotonic()

    def notify(self, outcomes: Iterable[Any]) -> None:
        """Notify of an own commit, given what its operations returned.

        A `Job` is a written row; None means that only something else than jobs changed, and an error that nothing did.
        """
        outcomes = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        rows = [outcome for outcome in outcomes if isinstance(outcome, Job)]
        has_more = any(outcome is not None and not isinstance(outcome, Job) for outcome in outcomes)
        for listener in tuple(self._listeners):
            if listener.on_row is None or has_more:
                listener.notify()
            if listener.on_row is not None:
                for row in rows:
                    listener.on_row(row)

    async def follow(self, on_row: OnRow | None) -> AsyncGenerator[None, None]:
        """Yield at once, and then after commits; see `JobReader.changes`."""
        listener = _Listener(on_row)
        self._listeners.add(listener)
        try:
            if not self._is_checking():
                version = await self._version()
                if not self._is_checking():
                    self._checking = asyncio.create_task(self._check(version), name="check for commits")
                    self._checking.add_done_callback(self._report_end)
            while True:
                yield
                await listener.wait()
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                await self._stop_checking()

    def _is_checking(self) -> bool:
        return self._checking is not None and not self._checking.done()

    def _report_end(self, checking: "asyncio.Task[None]") -> None:
        if not checking.cancelled():
            for listener in tuple(self._listeners):
                listener.notify(checking.exception())

    async def _stop_checking(self) -> None:
        if self._checking is not None:
            checking, self._checking = self._checking, None
            checking.cancel()
            await asyncio.wait({checking})

    async def _check(self, seen: int) -> None:
        pause = _FIRST_PAUSE
        with self._wake_ups() as wake_ups:
            while True:
                version = await self._version()
                if version != seen:
                    seen = version
                    for listener in tuple(self._listeners):
                        listener.notify()
                elif not await wake_ups.wait(pause):
                    pause = min(_GROWTH * pause, _LONGEST_PAUSE)
                elif self._is_own_echo():
                    await asyncio.sleep(_ECHO_SECONDS)
                    await wake_ups.wait(0)  # The next check covers the wake-ups that came since.
                    pause = _PAUSE_AFTER_ECHO
                else:
                    pause = _FIRST_PAUSE

    def _is_own_echo(self) -> bool:
        """Return whether a wake-up most likely reports a commit of this repository."""
        return self._is_committing or time.monotonic() - self._last_commit < _ECHO_SECONDS
