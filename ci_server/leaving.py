"""The server's own departure, as something that requests can wait for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE_SECONDS = 1.0
"""How long a request may go on once the server leaves."""


class Leaving:
    """Begins once, when the server has been told to stop. For one event loop."""

    def __init__(self) -> None:
        self.begun = False
        self._callbacks: set[Callable[[], None]] = set()

    def begin(self) -> None:
        """Refuse new work from now on, and tell everybody who asked to be told."""
        if not self.begun:
            self.begun = True
            for callback in tuple(self._callbacks):
                callback()

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
