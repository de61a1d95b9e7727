"""Wake-ups when files change: inotify where the system has it, a timer everywhere.

A wake-up carries no data and may be lost or come for nothing; whoever is woken looks again. This is the one door to
inotify.
"""

import asyncio
import logging
import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Self

from ci_common.system.inotify import OVERFLOW, Inotify, Mask

POLL_SECONDS = 0.25
"""How often to look where the system tells of no changes."""

logger = logging.getLogger(__name__)


class Watched(Enum):
    """What about a path is of interest."""

    CONTENT = "content"
    """The file is written to."""
    ENTRIES = "entries"
    """In the directory, files appear, or have been written and closed."""


_MASKS = {
    Watched.CONTENT: Mask.MODIFY | Mask.DONT_FOLLOW,
    Watched.ENTRIES: Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.ONLYDIR | Mask.DONT_FOLLOW,
}


class Subscription:
    """One listener's wake-ups, from `FileWatcher.subscribe`. A context manager; leaving it ends the wake-ups."""

    def __init__(self, watcher: "FileWatcher", keys: Iterable[int], *, notified: bool) -> None:
        self._watcher = watcher
        self._keys = tuple(keys)
        self._notified = notified
        self._changed = False
        self._waiting: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the listener, as a change would."""
        self._changed = True
        self._stop_waiting()

    def poll(self) -> None:
        """Have the listener look every `POLL_SECONDS`, as changes are not told of any more."""
        self._notified = False
        self.wake()

    async def wait(self, timeout: float) -> bool:
        """Return True at a change since the last `wait`, False after `timeout` seconds without one.

        Where changes are not told of, it is True every `POLL_SECONDS`, as there may have been one. For one task at a
        time.
        """
        polling = not self._notified and timeout >= POLL_SECONDS
        if not self._changed:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = loop.call_later(POLL_SECONDS if polling else timeout, self._stop_waiting)
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        changed, self._changed = self._changed, False
        return changed or polling

    def _stop_waiting(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """End the wake-ups. May be called twice."""
        self._watcher.unsubscribe(self, self._keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileWatcher:
    """Many subscriptions on one inotify instance. An asynchronous context manager, for one event loop.

    Where inotify is missing or fails, or its limits are reached, subscriptions poll every `POLL_SECONDS` instead.
    """

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._listeners: dict[int, set[Subscription]] = {}

    async def __aenter__(self) -> Self:
        if sys.platform == "linux":
            try:
                self._inotify = Inotify()
            except OSError:
                return self  # No instance left for this user: poll.
            asyncio.get_running_loop().add_reader(self._inotify.descriptor, self._look, self._inotify)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

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
            if not listeners and self._listeners.pop(key, None) is not None and self._inotify is not None:
                try:
                    self._inotify.remove(key)
                except OSError:
                    pass  # The file is gone, and its watch with it.

    def _watch(self, path: Path, watched: Watched) -> int | None:
        if self._inotify is None:
            return None
        try:
            return self._inotify.add(path, _MASKS[watched])
        except OSError:
            return None

    def _look(self, inotify: Inotify) -> None:
        """Wake the listeners of all that has changed by now, each once."""
        try:
            changed = inotify.changed()
        except OSError:
            logger.exception("changes of files cannot be read any more; they are looked for every %s s", POLL_SECONDS)
            self._end()
            for listener in self._every_listener():
                listener.poll()
            return
        for number in self._listeners if OVERFLOW in changed else changed:
            for listener in self._listeners.get(number, ()):
                listener.wake()

    def _every_listener(self) -> set[Subscription]:
        return {listener for listeners in self._listeners.values() for listener in listeners}

    def _end(self) -> None:
        inotify, self._inotify = self._inotify, None  # Subscriptions may be made and ended even now.
        if inotify is not None:
            asyncio.get_running_loop().remove_reader(inotify.descriptor)
            inotify.close()
