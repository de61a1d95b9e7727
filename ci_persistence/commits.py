"""Tells those in this process who look for commits that there was one, and shows them the rows of jobs in it.

The system tells of what is written, which is before it can be seen: whoever looks then has to look again. Inside of one
process, as in that of a server with its controller, the writer itself can say when, and what.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from ci_common.jobs import Job

Wake = Callable[[], object]
See = Callable[[Job], object]

ECHO_SECONDS = 0.02
"""How long after a commit of this process a change of the database is most likely that one."""


class Commits:
    """The commits of this process to one database. What is told may come for nothing, and may not come at all."""

    def __init__(self) -> None:
        self._listeners: set[tuple[asyncio.AbstractEventLoop, Wake]] = set()
        self._viewers: set[tuple[asyncio.AbstractEventLoop, See]] = set()
        self._under_way: set[object] = set()
        self._last = -ECHO_SECONDS

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Say that this process commits, for as long as the context lasts, and tell everybody in the end."""
        commit = object()
        self._under_way.add(commit)
        try:
            yield
        finally:
            self._last = time.monotonic()
            self._under_way.discard(commit)
            self.tell()

    def are_echoed(self) -> bool:
        """Tell whether a change that is noticed now is most likely one of this process, which it need not look for."""
        return bool(self._under_way) or time.monotonic() - self._last < ECHO_SECONDS

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
