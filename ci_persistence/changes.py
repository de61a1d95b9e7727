"""Notifies listeners of commits, and hands them the jobs that were written through the same database object."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, NoReturn, Protocol

from ci_common.jobs import Job

OnRow = Callable[[Job], object]


class CommitWatch(Protocol):
    """Finds the commits of others. It runs only while there are listeners."""

    async def begin(self) -> None:
        """Note the present state: `run` reports every commit of others from now on."""

    async def run(self, notify: Callable[[], None]) -> NoReturn:
        """Call `notify` after commits of others until cancelled. Raises Unavailable."""


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
        """Return after the next notification. Raises the error that ended the watch."""
        await self._notified.wait()
        self._notified.clear()
        if self._error is not None:
            raise self._error


class ChangeNotifier:
    """The commits to one database, for one event loop. One watch serves all listeners."""

    def __init__(self, watch: CommitWatch) -> None:
        self._watch = watch
        self._listeners: set[_Listener] = set()
        self._watching: asyncio.Task[None] | None = None
        self._switching = asyncio.Lock()
        """Held while the watch is started or stopped."""

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
        """Yield at once, and then after commits; see `Database.changes`."""
        listener = _Listener(on_row)
        self._listeners.add(listener)
        try:
            await self._start_watching()
            while True:
                yield
                await listener.wait()
        finally:
            self._listeners.discard(listener)
            await self._stop_watching()

    def _notify_all(self) -> None:
        for listener in tuple(self._listeners):
            listener.notify()

    async def _start_watching(self) -> None:
        async with self._switching:
            if self._watching is None or self._watching.done():
                await self._watch.begin()
                self._watching = asyncio.create_task(self._watch.run(self._notify_all), name="watch for commits")
                self._watching.add_done_callback(self._report_end)

    async def _stop_watching(self) -> None:
        async with self._switching:
            if self._watching is not None and not self._listeners:
                watching, self._watching = self._watching, None
                watching.cancel()
                await asyncio.wait({watching})

    def _report_end(self, watching: "asyncio.Task[None]") -> None:
        if not watching.cancelled():
            for listener in tuple(self._listeners):
                listener.notify(watching.exception())
