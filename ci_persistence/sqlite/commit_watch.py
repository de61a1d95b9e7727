"""Finds the commits of others to one SQLite database.

It asks for `data_version` on the writer's connection: there it changes with every commit of another connection, of
whatever process, and with nothing else.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn

from ci_common.system.watch import Subscription

_ECHO_SECONDS = 0.02
"""For how long after an own commit a change of the -wal file is most likely caused by that commit."""
_FIRST_PAUSE = 0.0005
_PAUSE_AFTER_ECHO = 0.1
_LONGEST_PAUSE = 2.0
"""Seconds between two checks. The -wal file changes before a commit can be seen, and wake-ups may be lost."""
_GROWTH = 4
"""How many times longer each of these pauses is than the one before."""


class WalWatch:
    """A `CommitWatch` that is woken by changes of the -wal file."""

    def __init__(
        self, version: Callable[[], Awaitable[int]], wake_ups: Callable[[], AbstractContextManager[Subscription]]
    ) -> None:
        """`version` reads `data_version` on the writer's connection; `wake_ups` are those of the -wal file."""
        self._version = version
        self._wake_ups = wake_ups
        self._seen = -1
        self._is_committing = False
        self._last_commit = -_ECHO_SECONDS

    @contextmanager
    def own_commit(self) -> Iterator[None]:
        """While this context is open, the writer commits."""
        self._is_committing = True
        try:
            yield
        finally:
            self._is_committing = False
            self._last_commit = time.monotonic()

    async def begin(self) -> None:
        self._seen = await self._version()

    async def run(self, notify: Callable[[], None]) -> NoReturn:
        pause = _FIRST_PAUSE
        with self._wake_ups() as wake_ups:
            while True:
                version = await self._version()
                if version != self._seen:
                    self._seen = version
                    notify()
                elif not await wake_ups.wait(pause):
                    pause = min(_GROWTH * pause, _LONGEST_PAUSE)
                elif self._is_own_echo():
                    await asyncio.sleep(_ECHO_SECONDS)
                    await wake_ups.wait(0)  # The next check covers the wake-ups that came since.
                    pause = _PAUSE_AFTER_ECHO
                else:
                    pause = _FIRST_PAUSE

    def _is_own_echo(self) -> bool:
        """Return whether a wake-up most likely reports a commit of the writer."""
        return self._is_committing or time.monotonic() - self._last_commit < _ECHO_SECONDS
