"""Tells those in this process who look for commits that there was one, and shows them the rows of jobs in it.

The system tells of what is written, which is before it can be seen: whoever looks then has to look again. Inside of one
process, as in that of a server with its controller, the writer itself can say when, and what.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from ci_common.jobs import Job

Wake = Callable[[], object]
See = Callable[[Job], object]


class Commits:
    """The commits of this process to one database. What is told may come for nothing, and may not come at all."""

    def __init__(self) -> None:
        self._listeners: set[tuple[asyncio.AbstractEventLoop, Wake]] = set()
        self._viewers: set[tuple[asyncio.AbstractEventLoop, See]] = set()

    def tell(self) -> None:
        """Wake everybody, each in the event loop it is of."""
        for loop, wake in tuple(self._listeners):
            _call_in(loop, wake)

    def show(self, job: Job) -> None:
        """Show everybody a row as it stands by now, each in the event loop it is of."""
        for loop, see in tuple(self._viewers):
            _call_in(loop, see, job)

    @contextmanager
    def telling(self, wake: Wake) -> Iterator[None]:
        """Have `wake` called in this event loop after every commit, for as long as the context lasts."""
        listener = asyncio.get_running_loop(), wake
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    @contextmanager
    def showing(self, see: See) -> Iterator[None]:
        """Have `see` called in this event loop with every row that is shown, for as long as the context lasts."""
        viewer = asyncio.get_running_loop(), see
        self._viewers.add(viewer)
        try:
            yield
        finally:
            self._viewers.discard(viewer)


def _call_in(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Job) -> None:
    if loop is asyncio.get_running_loop():
        call(*arguments)
    else:
        with suppress(RuntimeError):  # It has just been closed.
            loop.call_soon_threadsafe(call, *arguments)


_OF_DATABASES: WeakValueDictionary[Path, Commits] = WeakValueDictionary()


def commits_to(path: Path) -> Commits:
    """Return the commits to the database at `path`, without symbolic links: the same whoever in this process asks."""
    return _OF_DATABASES.setdefault(path, Commits())
