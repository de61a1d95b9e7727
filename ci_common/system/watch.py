"""Wake-ups when files change: by inotify on Linux, by a timer elsewhere.

A wake-up carries no data, and may be lost or spurious; the listener looks at the files again.
"""

import asyncio
import ctypes
import logging
import os
import struct
import sys
from collections.abc import Iterable
from enum import Enum, IntFlag
from pathlib import Path
from typing import Self

POLL_SECONDS = 0.25
"""How often to look at the files without inotify."""

logger = logging.getLogger(__name__)

OVERFLOW = -1
"""Stands for a watch's number: events of any watches have been lost."""

_EVENT = struct.Struct("=i8xI")
_BUFFER_BYTES = 16 * 1024


class Mask(IntFlag):
    """The kernel's flags for a watch."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    ONLYDIR = 0x1000000
    DONT_FOLLOW = 0x2000000


class Inotify:
    """An inotify instance. Raises OSError if the system has no inotify, or this user has no instance left."""

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor = _checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        except AttributeError as exc:
            raise OSError(f"the system has no inotify: {exc}") from exc

    def add(self, path: Path, mask: Mask) -> int:
        """Watch a file or directory; return the number of the watch, always the same for one file. Raises OSError."""
        return _checked(self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, number: int) -> None:
        """End a watch. Raises OSError if it has ended already because its file is gone."""
        _checked(self._libc.inotify_rm_watch(self.descriptor, number))

    def changed(self) -> set[int]:
        """Return the numbers of the watches with new events, or OVERFLOW among them. Never waits."""
        try:
            events = os.read(self.descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return set()
        numbers, position = set(), 0
        while position < len(events):
            number, length = _EVENT.unpack_from(events, position)
            numbers.add(number)
            position += _EVENT.size + length
        return numbers

    def close(self) -> None:
        """End all watches."""
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Watched(Enum):
    """What to watch at a path."""

    CONTENT = "content"
    """The file is written to."""
    ENTRIES = "entries"
    """In the directory, files are created, moved here, or closed after writing."""
    CHANGES = "changes"
    """The same, and files are removed, moved away, or given other attributes."""


_ENTRIES = Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.ONLYDIR | Mask.DONT_FOLLOW
_MASKS = {
    Watched.CONTENT: Mask.MODIFY | Mask.DONT_FOLLOW,
    Watched.ENTRIES: _ENTRIES,
    Watched.CHANGES: _ENTRIES | Mask.DELETE | Mask.MOVED_FROM | Mask.ATTRIB,
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
        """Wake the listener every `POLL_SECONDS` from now on, because changes are no longer reported."""
        self._notified = False
        self.wake()

    async def wait(self, timeout: float) -> bool:
        """Return True if there was a change since the last `wait`, False after `timeout` seconds without one.

        If changes are not reported, return True every `POLL_SECONDS`, because there may have been one. Only one task at
        a time may wait.
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

    If inotify is missing or fails, or its limits are reached, subscriptions poll every `POLL_SECONDS` instead.
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
        """Return a subscription to changes of `paths`. If one of them does not exist, the subscription polls.

        Without paths, only `Subscription.wake` wakes the listener.
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
        """Wake each listener of the changed files once."""
        try:
            changed = inotify.changed()
        except OSError:
            logger.exception("changes of files cannot be read any more; files are now polled every %s s", POLL_SECONDS)
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
        inotify, self._inotify = self._inotify, None  # Subscriptions may still be made and ended.
        if inotify is not None:
            asyncio.get_running_loop().remove_reader(inotify.descriptor)
            inotify.close()
