"""The server's shutdown, as an event that requests can wait for."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE_SECONDS = 1.0
"""How long a request may go on after the server's shutdown has started."""


class GracePeriod:
    """As a context, the time that a task has after the shutdown has started: GRACE_SECONDS, then it is cancelled."""

    __slots__ = ("_shutdown", "is_over", "task")

    def __init__(self, shutdown: "Shutdown") -> None:
        self._shutdown = shutdown
        self.task = asyncio.current_task()
        self.is_over = False
        """Whether the task has been cancelled because its time was over."""

    def __enter__(self) -> "GracePeriod":
        self._shutdown.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._shutdown.exit(self)


class Shutdown:
    """Starts once, when the server has been told to stop. For one event loop."""

    def __init__(self) -> None:
        self.started = False
        self._callbacks: set[Callable[[], None]] = set()
        self._periods: set[GracePeriod] = set()

    def start(self) -> None:
        """Refuse new work from now on, and run the callbacks."""
        if not self.started:
            self.started = True
            for callback in tuple(self._callbacks):
                callback()
            for period in self._periods:
                self._count_down(period)

    def enter(self, period: GracePeriod) -> None:
        """Add a task's grace period. It counts from now if the shutdown has already started."""
        self._periods.add(period)
        if self.started:
            self._count_down(period)

    def exit(self, period: GracePeriod) -> None:
        """Remove the grace period of a task that needs no more time."""
        self._periods.discard(period)

    def _count_down(self, period: GracePeriod) -> None:
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._end, period)

    def _end(self, period: GracePeriod) -> None:
        if period in self._periods and period.task is not None:
            period.is_over = True
            period.task.cancel()

    @contextmanager
    def on_shutdown(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the context is open, call `callback` when the shutdown starts, or at once if it has started."""
        self._callbacks.add(callback)
        try:
            if self.started:
                callback()
            yield
        finally:
            self._callbacks.discard(callback)
