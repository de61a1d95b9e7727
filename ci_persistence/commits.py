"""Tells those in this process who look for commits that there was one.

The system tells of what is written, which is before it can be seen: whoever looks then has to look again. Inside of one
process, as in that of a server with its controller, the writer itself can say when.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

Wake = Callable[[], object]


class Commits:
    """The commits of this process to one database. A wake-up carries no data and may come for nothing."""

    def __init__(self) -> None:
        self._listeners: set[tuple[asyncio.AbstractEventLoop, Wake]] = set()

    def tell(self) -> None:
        """Wake everybody, each in the event loop it is of."""
        here = asyncio.get_running_loop()
        for loop, wake in tuple(self._listeners):
            if loop is here:
                wake()
            else:
                with suppress(RuntimeError):  # It has just been closed.
                    loop.call_soon_threadsafe(wake)

    @contextmanager
    def telling(self, wake: Wake) -> Iterator[None]:
        """Have `wake` called in this event loop after every commit, for as long as the context lasts."""
        listener = asyncio.get_running_loop(), wake
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)


_OF_DATABASES: WeakValueDictionary[Path, Commits] = WeakValueDictionary()


def commits_to(path: Path) -> Commits:
    """Return the commits to the database at `path`, without symbolic links: the same whoever in this process asks."""
    return _OF_DATABASES.setdefault(path, Commits())
