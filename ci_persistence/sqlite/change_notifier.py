"""Tells those who follow the database of commits, and shows them the rows that were written here.

Of a repository's own commits its writer tells. Of others' the database tells where it is asked on the writer's
connection: SQLite's `data_version` changes there with what other connections have committed, and with nothing else.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ci_common.jobs import Job
from ci_common.system.watch import Subscription

See = Callable[[Job], object]

_ECHO_SECONDS = 0.02
"""How long after a commit of our own the system's word of one is most likely of that."""
_FIRST_PAUSE = 0.0005
_AFTER_ECHO = 0.1
_LONGEST_PAUSE = 2.0
"""Seconds between two looks for a commit. The -wal file tells of it before it can be seen, and wake-ups may be lost."""
_GROWTH = 4
"""How many times longer each of these pauses is than the one before."""


class _Listener:
    """Whoever follows the database, until it is told next."""

    def __init__(self, see: See | None) -> None:
        self.see = see
        self._told = asyncio.Event()
        self._fault: BaseException | None = None

    def tell(self, fault: BaseException | None = None) -> None:
        self._fault = self._fault or fault
        self._told.set()

    async def wait(self) -> None:
        """Return once there is something to look at. Raises what keeps us from seeing it."""
        await self._told.wait()
        self._told.clear()
        if self._fault is not None:
            raise self._fault


class News:
    """What is committed to one database, for one event loop. One look serves all who follow."""

    def __init__(
        self, version: Callable[[], Awaitable[int]], wake_ups: Callable[[], AbstractContextManager[Subscription]]
    ) -> None:
        """`version` asks the writer's connection for its `data_version`; `wake_ups` are those of the -wal file."""
        self._version = version
        self._wake_ups = wake_ups
        self._listeners: set[_Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._under_way = False
        self._last = -_ECHO_SECONDS

    @contextmanager
    def own_commit(self) -> Iterator[None]:
        """Say that we commit for as long as the context lasts."""
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False
            self._last = time.monotonic()

    def committed(self, outcomes: Iterable[Any]) -> None:
        """Tell of the operations of a commit of our own, by what they returned.

        A job is its row, as it stands now; None is a change that is no job's. Those of an error have changed nothing.
        """
        outcomes = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        rows = [outcome for outcome in outcomes if isinstance(outcome, Job)]
        has_more = any(outcome is not None and not isinstance(outcome, Job) for outcome in outcomes)
        for listener in tuple(self._listeners):
            if listener.see is None or has_more:
                listener.tell()
            if listener.see is not None:
                for row in rows:
                    listener.see(row)

    async def follow(self, see: See | None) -> AsyncGenerator[None, None]:
        """Yield at once, and then after commits, as `JobRepository.changes` promises it."""
        listener = _Listener(see)
        self._listeners.add(listener)
        try:
            if not self._is_looking():
                version = await self._version()
                if not self._is_looking():
                    self._looking = asyncio.create_task(self._look_for_others(version), name="looks for commits")
                    self._looking.add_done_callback(self._tell_of_end)
            while True:
                yield
                await listener.wait()
        finally:
            self._listeners.discard(listener)
            await self._stop_looking_for_nobody()

    def _is_looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    def _tell_of_end(self, looking: "asyncio.Task[None]") -> None:
        if not looking.cancelled():
            for listener in tuple(self._listeners):
                listener.tell(looking.exception())

    async def _stop_looking_for_nobody(self) -> None:
        if self._looking is not None and not self._listeners:
            looking, self._looking = self._looking, None
            looking.cancel()
            await asyncio.wait({looking})

    async def _look_for_others(self, seen: int) -> None:
        pause = _FIRST_PAUSE
        with self._wake_ups() as wake_ups:
            while True:
                version = await self._version()
                if version != seen:
                    seen = version
                    for listener in tuple(self._listeners):
                        listener.tell()
                elif not await wake_ups.wait(pause):
                    pause = min(_GROWTH * pause, _LONGEST_PAUSE)
                elif self._is_echo():
                    await asyncio.sleep(_ECHO_SECONDS)
                    await wake_ups.wait(0)  # The look that follows is for what came meanwhile, too.
                    pause = _AFTER_ECHO
                else:
                    pause = _FIRST_PAUSE

    def _is_echo(self) -> bool:
        return self._under_way or time.monotonic() - self._last < _ECHO_SECONDS
