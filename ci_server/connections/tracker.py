"""How many connections there are, and which of them have to do something soon."""

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

from ci_server.connections.limits import HEAD_SECONDS, IDLE_SECONDS, MOST_CONNECTIONS

TICK_SECONDS = 1.0
_TICKS_BETWEEN_WARNINGS = 60
_CLOSED_AT_ONCE = 16
_SPARE_DESCRIPTORS = 64
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})

logger = logging.getLogger("ci_server.connections")


class Caller(Protocol):
    """A connection, as the door sees it."""

    def time_is_up(self) -> None:
        """End the connection: what was waited for has not come in time."""

    def give_way(self) -> None:
        """End the connection at once, to have room for another."""


class Door:
    """The connections of one server, for one event loop.

    Time is counted in ticks, about one a second. So a process that was stopped for a while does not take that time for
    time that its clients had.
    """

    def __init__(self, most: int, connections: Sized) -> None:
        self._asked_for = most
        self._connections = connections
        self._now = 0
        self._idle: dict[Caller, int] = {}
        """Those that wait for another request, and since when. The longest waiting one is the first."""
        self._heads: dict[Caller, int] = {}
        """The same of those whose headers, or whose end, are waited for."""
        self._timer: asyncio.TimerHandle | None = None
        self._last_warning: int | None = None

    def admit(self, caller: Caller) -> bool:
        """Begin to wait for the headers of a new connection; return False where there is no room for it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        if len(self._connections) > self._most:
            self._warn(
                f"{self._most} connections are open, which is the most (CI_MAX_CONNECTIONS, and the limit of open "
                "files): those that wait for a request are closed, and further ones are refused"
            )
            if self._make_room(1) == 0:
                return False
        self._heads[caller] = self._now
        return True

    @cached_property
    def _most(self) -> int:
        """How many connections there may be; known once the process has opened what it has open all the time."""
        return min(self._asked_for, _most_by_descriptors())

    def hear(self, caller: Caller) -> None:
        """Begin to wait for the rest of a request's headers where nothing of it was there before."""
        if self._idle.pop(caller, None) is not None:
            self._heads[caller] = self._now

    def expect_head(self, caller: Caller) -> None:
        """Begin to wait for a request's headers, or for the end of what is not used of it."""
        self.expect_nothing(caller)  # So that those that have waited longest stay the first.
        self._heads[caller] = self._now

    def expect_request(self, caller: Caller) -> None:
        """Begin to wait for another request."""
        self.expect_nothing(caller)
        self._idle[caller] = self._now

    def expect_nothing(self, caller: Caller) -> None:
        """Wait no longer."""
        if self._heads.pop(caller, None) is None:
            self._idle.pop(caller, None)

    def _tick(self) -> None:
        self._now += 1
        self._timer = None
        if self._connections:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        for waiting, seconds in ((self._heads, HEAD_SECONDS), (self._idle, IDLE_SECONDS)):
            for caller in _waiting_since(waiting, self._now - round(seconds / TICK_SECONDS)):
                del waiting[caller]
                caller.time_is_up()
        self._look_at_descriptors()

    def _look_at_descriptors(self) -> None:
        """Notice that no file can be opened. The event loop closes new connections then, and does not tell."""
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
        """Close up to so many connections that have waited longest, idle ones first; return how many it were."""
        made = 0
        for waiting in (self._idle, self._heads):
            while waiting and made < wanted:
                caller = next(iter(waiting))
                del waiting[caller]
                caller.give_way()
                made += 1
        return made

    def _warn(self, text: str) -> None:
        if self._last_warning is None or self._now - self._last_warning >= _TICKS_BETWEEN_WARNINGS:
            self._last_warning = self._now
            logger.warning(text)


def _waiting_since(waiting: dict[Caller, int], latest: int) -> list[Caller]:
    """Return those that have waited since `latest` or longer, of which the longest waiting one is the first."""
    found = []
    for caller, since in waiting.items():
        if since > latest:
            break
        found.append(caller)
    return found


def spare_descriptors() -> int:
    """Return how many of the free descriptors connections leave to the rest: a quarter, or some if that is few."""
    free = _free_descriptors()
    return max(free // 4, min(_SPARE_DESCRIPTORS, free // 2))


def _most_by_descriptors() -> int:
    return _free_descriptors() - spare_descriptors()


def _free_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(2, soft - len(os.listdir("/dev/fd")))


_doors: WeakKeyDictionary[ServerState, Door] = WeakKeyDictionary()


def open_door(server: ServerState, most: int) -> None:
    """Give a server a door for at most so many connections."""
    _doors[server] = Door(most, server.connections)


def door_of(server: ServerState) -> Door:
    """Return the server's door, one with the usual limits where none was opened."""
    door = _doors.get(server)
    if door is None:
        open_door(server, MOST_CONNECTIONS)
        door = _doors[server]
    return door
