"""The server's own departure, as something that requests can wait for."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE_SECONDS = 1.0
"""How long a request may go on once the server leaves."""


class Grace:
    """As a context, the time that a task has once the server leaves: GRACE_SECONDS, and then it is cancelled."""

    __slots__ = ("_leaving", "is_over", "task")

    def __init__(self, leaving: "Leaving") -> None:
        self._leaving = leaving
        self.task = asyncio.current_task()
        self.is_over = False
        """Whether the task has been cancelled for this."""

    def __enter__(self) -> "Grace":
        self._leaving.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.exit(self)


class Leaving:
    """Begins once, when the server has been told to stop. For one event loop."""

    def __init__(self) -> None:
        self.begun = False
        self._callbacks: set[Callable[[], None]] = set()
        self._graces: set[Grace] = set()

    def begin(self) -> None:
        """Refuse new work from now on, and tell everybody who asked to be told."""
        if not self.begun:
            self.begun = True
            for callback in tuple(self._callbacks):
                callback()
            for grace in self._graces:
                self._count_down(grace)

    def enter(self, grace: Grace) -> None:
        """Give a task its time; it counts from now where the server leaves already."""
        self._graces.add(grace)
        if self.begun:
            self._count_down(grace)

    def exit(self, grace: Grace) -> None:
        """Forget a task that needs no more time."""
        self._graces.discard(grace)

    def _count_down(self, grace: Grace) -> None:
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._end, grace)

    def _end(self, grace: Grace) -> None:
        if grace in self._graces and grace.task is not None:
            grace.is_over = True
            grace.task.cancel()

    @contextmanager
    def telling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` when it begins, at once where it has begun, as long as the context lasts."""
        self._callbacks.add(callback)
        try:
            if self.begun:
                callback()
            yield
        finally:
            self._callbacks.discard(callback)
