"""Wake-ups when files change: inotify where the system has it, a timer everywhere.

A wake-up carries no data and may be lost or come for nothing; whoever is woken looks again. This is the one door to
asyncinotify.
"""

import asyncio
import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING or sys.platform == "linux":
    from asyncinotify import Inotify, Mask, Watch

POLL_SECONDS = 0.25
"""How often to look where the system tells of no changes."""


class Watched(Enum):
    """What about a path is of interest."""

    CONTENT = "content"
    """The file is written to."""
    ENTRIES = "entries"
    """In the directory, files appear, or have been written and closed."""


class Subscription:
    """One listener's wake-ups, from `FileWatcher.subscribe`. A context manager; leaving it ends the wake-ups."""

    def __init__(self, watcher: "FileWatcher", keys: Iterable[int], *, notified: bool) -> None:
        self._watcher = watcher
        self._keys = tuple(keys)
        self._notified = notified
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Wake the listener, as a change would."""
        self._changed.set()

    async def wait(self, timeout: float) -> bool:
        """Return True at a change since the last `wait`, False after `timeout` seconds without one.

        Where changes are not told of, it is True every `POLL_SECONDS`, as there may have been one.
        """
        polling = not self._notified and timeout >= POLL_SECONDS
        try:
            async with asyncio.timeout(POLL_SECONDS if polling else timeout):
                await self._changed.wait()
        except TimeoutError:
            return polling
        self._changed.clear()
        return True

    def close(self) -> None:
        """End the wake-ups. May be called twice."""
        self._watcher.unsubscribe(self, self._keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileWatcher:
    """Many subscriptions on one inotify instance. An asynchronous context manager, for one event loop.

    Where inotify is missing or its limits are reached, subscriptions poll every `POLL_SECONDS` instead.
    """

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._watches: dict[int, Watch] = {}
        self._listeners: dict[int, set[Subscription]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if sys.platform == "linux":
            try:
                self._inotify = Inotify()
            except OSError:
                return self  # No instance left for this user: poll.
            self._reader = asyncio.create_task(self._read(self._inotify), name="file-watcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        inotify, self._inotify = self._inotify, None  # Subscriptions may be made and ended even now.
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})
        if inotify is not None:
            inotify.close()
        if self._reader is not None and not self._reader.cancelled():
            self._reader.result()

    def subscribe(self, *paths: tuple[Path, Watched]) -> Subscription:
        """Return a subscription to changes of `paths`, each of which should exist; one that does not is polled for.

        Without paths nothing but `Subscription.wake` wakes the listener.
        """
        keys = [key for path, watched in paths if (key := self._watch(path, watched)) is not None]
        subscription = Subscription(self, keys, notified=len(keys) == len(paths))
        for key in keys:
            self._listeners.setdefault(key, set()).add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription, keys: Iterable[int]) -> None:
        """End `subscription`; called by the subscription itself."""
        for key in keys:
            listeners = self._listeners.get(key, set())
            listeners.discard(subscription)
            if not listeners:
                self._listeners.pop(key, None)
                watch = self._watches.pop(key, None)
                if watch is not None and self._inotify is not None:
                    try:
                        self._inotify.rm_watch(watch)
                    except OSError:
                        pass  # The file is gone, and its watch with it.

    def _watch(self, path: Path, watched: Watched) -> int | None:
        if self._inotify is None:
            return None
        mask = (
            Mask.MODIFY if watched is Watched.CONTENT else Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.ONLYDIR
        )
        try:
            watch = self._inotify.add_watch(path, mask | Mask.DONT_FOLLOW)
        except OSError:
            return None
        self._watches[watch.wd] = watch
        return watch.wd

    async def _read(self, inotify: "Inotify") -> None:
        while True:
            event = await inotify.get()
            if Mask.Q_OVERFLOW in event.mask:
                woken = {listener for listeners in self._listeners.values() for listener in listeners}
            else:
                woken = self._listeners.get(event.watch.wd, set()) if event.watch is not None else set()
            for listener in woken:
                listener.wake()
