"""Limits how many connections there are, and how long each may wait for its client."""

import asyncio
import errno
import logging
import os
import resource
import sys
from collections.abc import Sized
from functools import cached_property
from typing import Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

from ci_server.connections.request_head import HEAD_SECONDS, IDLE_SECONDS, MOST_CONNECTIONS

TICK_SECONDS = 1.0
_TICKS_BETWEEN_WARNINGS = 60
_CLOSED_AT_ONCE = 16
_SPARE_DESCRIPTORS = 64
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

logger = logging.getLogger("ci_server.connections")


class TrackedConnection(Protocol):
    """What a tracker needs of a connection."""

    def on_timeout(self) -> None:
        """End the connection: the client did not send what was expected in time."""

    def evict(self) -> None:
        """End the connection at once, to make room for another."""


class ConnectionTracker:
    """The connections of one server, for one event loop.

    Time is counted in ticks, about one a second. So the time for which this process was stopped is not counted as time
    that its clients had.
    """

    def __init__(self, most: int, connections: Sized) -> None:
        self._asked_for = most
        self._connections = connections
        self._now = 0
        self._idle: dict[TrackedConnection, int] = {}
        """The connections that wait for another request, and since when. The longest waiting one is the first."""
        self._heads: dict[TrackedConnection, int] = {}
        """The same for connections whose headers, or whose end, are expected."""
        self._timer: asyncio.TimerHandle | None = None
        self._last_warning: int | None = None

    def admit(self, connection: TrackedConnection) -> bool:
        """Expect the headers of a new connection; return False where there is no room for it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        if len(self._connections) > self._most:
            self._warn(
                f"{self._most} connections are open, which is the most (CI_MAX_CONNECTIONS, and the limit of open "
                "files): those that wait for a request are closed, and further ones are refused"
            )
            if self._make_room(1) == 0:
                return False
        self._heads[connection] = self._now
        return True

    @cached_property
    def _most(self) -> int:
        """How many connections there may be; known once the process has opened its other files."""
        return min(self._asked_for, _most_by_descriptors())

    def on_data(self, connection: TrackedConnection) -> None:
        """Expect the rest of a request's headers, if its first bytes have arrived just now."""
        if self._idle.pop(connection, None) is not None:
            self._heads[connection] = self._now

    def expect_head(self, connection: TrackedConnection) -> None:
        """Expect a request's headers, or the end of a body that is not used."""
        self.expect_nothing(connection)  # So that the longest waiting ones stay the first.
        self._heads[connection] = self._now

    def expect_request(self, connection: TrackedConnection) -> None:
        """Expect another request."""
        self.expect_nothing(connection)
        self._idle[connection] = self._now

    def expect_nothing(self, connection: TrackedConnection) -> None:
        """Expect nothing from the client."""
        if self._heads.pop(connection, None) is None:
            self._idle.pop(connection, None)

    def _tick(self) -> None:
        self._now += 1
        self._timer = None
        if self._connections:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        for waiting, seconds in ((self._heads, HEAD_SECONDS), (self._idle, IDLE_SECONDS)):
            for connection in _waiting_since(waiting, self._now - round(seconds / TICK_SECONDS)):
                del waiting[connection]
                connection.on_timeout()
        self._check_descriptors()

    def _check_descriptors(self) -> None:
        """Notice that no file can be opened. The event loop then closes new connections silently."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as exc:
            if exc.errno not in _OUT_OF_DESCRIPTORS:
                return
            self._warn(
                f"new connections cannot be taken ({exc.strerror}): {len(self._connections)} are open, and those that "
                "wait for a request are closed; raise the limit of open files (ulimit -n, LimitNOFILE)"
            )
            self._make_room(_CLOSED_AT_ONCE)

    def _make_room(self, wanted: int) -> int:
        """Close up to `wanted` connections that have waited longest, idle ones first; return how many were closed."""
        made = 0
        for waiting in (self._idle, self._heads):
            while waiting and made < wanted:
                connection = next(iter(waiting))
                del waiting[connection]
                connection.evict()
                made += 1
        return made

    def _warn(self, text: str) -> None:
        if self._last_warning is None or self._now - self._last_warning >= _TICKS_BETWEEN_WARNINGS:
            self._last_warning = self._now
            logger.warning(text)


def _waiting_since(waiting: dict[TrackedConnection, int], latest: int) -> list[TrackedConnection]:
    """Return the connections that have waited since `latest` or longer, the longest waiting one first."""
    found = []
    for connection, since in waiting.items():
        if since > latest:
            break
        found.append(connection)
    return found


def spare_descriptors() -> int:
    """Return how many of the free descriptors are kept for other files: a quarter, and at least 64 or half of them."""
    free = _free_descriptors()
    return max(free // 4, min(_SPARE_DESCRIPTORS, free // 2))


def _most_by_descriptors() -> int:
    return _free_descriptors() - spare_descriptors()


def _free_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(2, soft - len(os.listdir("/dev/fd")))


_trackers: WeakKeyDictionary[ServerState, ConnectionTracker] = WeakKeyDictionary()


def track_connections(server: ServerState, most: int) -> None:
    """Track the connections of a server, at most `most` of them."""
    _trackers[server] = ConnectionTracker(most, server.connections)


def tracker_of(server: ServerState) -> ConnectionTracker:
    """Return the server's tracker, with the default limit if `track_connections` was not called."""
    tracker = _trackers.get(server)
    if tracker is None:
        track_connections(server, MOST_CONNECTIONS)
        tracker = _trackers[server]
    return tracker
