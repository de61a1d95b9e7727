"""A pool of readers, which are started before they are needed, reused, and replaced when they die."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from ci_common.sandbox.channel import ReadingLimits, Task
from ci_common.sandbox.process import OnPart, Reader, ReaderLost, judged, result_of

AT_ONCE = 4
"""The most tasks that run at once, not counting those that have given way."""
_SLOW_SECONDS = 0.2
_WAITING_SECONDS = 0.1
_IDLE_SECONDS = 600.0
_UNASKED_SECONDS = 1.0
_LOOKS = 10
"""After so many checks, each `Pace.slow` apart, a reader gives way even if it used no processor time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Times after which the pool acts, in seconds."""

    slow: float = _SLOW_SECONDS
    """A task that has only been reading for so long gives way to others."""
    waiting: float = _WAITING_SECONDS
    """Another reader is started if a task has waited so long for one."""
    idle: float = _IDLE_SECONDS
    """A reader that has been idle for so long is ended, unless it is the only one."""
    unasked: float = _UNASKED_SECONDS
    """The first reader is started after so long, even if there is no task for it."""


class Readers:
    """A pool of readers, as an asynchronous context. For one event loop.

    AT_ONCE tasks run at once, first come, first served. A task that only reads and takes unusually long gives way: it
    continues at a low priority and is no longer counted, so that others do not wait for it.
    """

    def __init__(self, tasks: str, limits: ReadingLimits, *, pace: Pace | None = None) -> None:
        """`tasks` is the name of the module with TASKS."""
        self._tasks = tasks
        self._limits = limits
        self._pace = pace or Pace()
        self._idle: list[Reader] = []
        self._busy: set[Reader] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[Reader]] = deque()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._later("unasked", self._pace.unasked, self.expect)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        for task in self._starting:
            task.cancel()
        ends = [*(self._end(reader) for reader in self._idle), *(reader.end() for reader in self._busy)]
        await asyncio.gather(*ends, *self._starting, *self._ending, return_exceptions=True)
        self._idle.clear()

    @property
    def pids(self) -> list[int]:
        """The pids of readers that are idle or busy."""
        return [reader.pid for reader in [*self._idle, *self._busy]]

    def expect(self) -> None:
        """Start a reader for an expected task, unless there is one."""
        if self._counted == 0:
            self._start_one()

    async def ready(self) -> None:
        """Wait until a reader can take a task. Raises Unavailable, ReaderLost."""
        self._offer(await self._take())

    async def do(
        self, task: Task, *, on_advance: Callable[[], None] = lambda: None, on_part: OnPart | None = None
    ) -> Any:
        """Run a task in a reader and return its result. The task does not run any more when this returns or raises.

        `on_advance` is called from time to time, and before each 4 MiB that are written; an error that it raises ends
        the task. `on_part` is called with each part of the result that the task hands over, from the first one if
        another reader takes over. Raises the error of the task; InvalidUpload or InvalidRequest if the files cannot be
        read or exceed the limits; Unavailable if no process can be started; ReaderLost if two readers in turn died for
        another reason.
        """
        try:
            return await self._do(task, await self._take(), on_advance, on_part, again=False)
        except ReaderLost as exc:
            log.warning("a reader is lost, another one takes over: %s", exc)
        return await self._do(task, await Reader.start(self._tasks), on_advance, on_part, again=True)

    async def _do(
        self, task: Task, reader: Reader, on_advance: Callable[[], None], on_part: OnPart | None, *, again: bool
    ) -> Any:
        self._busy.add(reader)
        watch = _Watch(reader, self._pace.slow, self._grow)
        try:
            answer = await self._answer(task, reader, on_advance, on_part, again=again)
            return result_of(answer, task, reader.files(task.root), self._limits)
        finally:
            watch.stop()
            self._busy.discard(reader)
            await self._give_back(reader)

    async def _answer(
        self, task: Task, reader: Reader, on_advance: Callable[[], None], on_part: OnPart | None, *, again: bool
    ) -> dict[str, Any]:
        request = {
            "task": task.name,
            "argument": task.argument,
            "root": str(task.root),
            "again": again,
            "seconds": self._limits.seconds,
            "memory": self._limits.memory,
        }
        try:
            silence = self._limits.longest_silence
            return await reader.ask(request, silence=silence, on_advance=on_advance, on_part=on_part)
        except (TimeoutError, OSError, EOFError) as exc:
            status = await reader.end()
            raise judged(status, reader.silence, reader.files(task.root), self._limits) from exc
        except BaseException:
            await reader.end()
            raise

    async def _take(self) -> Reader:
        while self._idle:
            reader = self._idle.pop()
            if reader.can_work:
                return reader
            await self._end(reader)
        waiting: asyncio.Future[Reader] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._grow_later()
        try:
            return await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled() and waiting.exception() is None:
                self._offer(waiting.result())
            raise

    def _offer(self, reader: Reader) -> None:
        """Give a free reader to the task that has waited the longest."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(reader)
                return
        self._idle.append(reader)
        if len(self._idle) > 1:
            self._later("idle", self._pace.idle, self._let_go)

    async def _give_back(self, reader: Reader) -> None:
        if not self._is_closed and not reader.is_worn:
            self._offer(reader)
            return
        await self._end(reader)
        self.expect()

    async def _end(self, reader: Reader) -> None:
        await reader.end()
        reader.forget()

    @property
    def _counted(self) -> int:
        return len(self._idle) + len(self._starting) + sum(not reader.gives_way for reader in self._busy)

    def _grow_later(self) -> None:
        """Start readers if tasks wait too long. A reader takes a while to start, so another may be free before."""
        self.expect()
        self._later("waiting", self._pace.waiting, self._grow)

    def _grow(self) -> None:
        waiting = sum(not future.done() for future in self._waiting)
        for _ in range(min(waiting - len(self._starting), AT_ONCE - self._counted)):
            self._start_one()
        if waiting:
            self._later("waiting", self._pace.waiting, self._grow)

    def _let_go(self) -> None:
        if len(self._idle) > 1:
            ending = asyncio.create_task(self._end(self._idle.pop(0)), name="reader's end")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._later("idle", self._pace.idle, self._let_go)

    def _later(self, what: str, seconds: float, call: Callable[[], None]) -> None:
        """Schedule a call after so many seconds, unless it is scheduled already."""

        def now() -> None:
            del self._timers[what]
            call()

        if what not in self._timers and not self._is_closed:
            self._timers[what] = asyncio.get_running_loop().call_later(seconds, now)

    def _start_one(self) -> None:
        if not self._is_closed:
            starting = asyncio.create_task(self._start(), name="reader's start")
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)

    async def _start(self) -> None:
        try:
            self._offer(await Reader.start(self._tasks))
        except Exception as exc:
            log.warning("a reader cannot be started: %s", exc)
            while self._counted == 1 and self._waiting:  # No other reader would ever be free for them.
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_exception(exc)


class _Watch:
    """Makes a reader give way when it has only been reading for too long, and reports that.

    Processor time counts, because all readers are slow on a busy machine.
    """

    def __init__(self, reader: Reader, seconds: float, on_giving_way: Callable[[], None]) -> None:
        self._reader = reader
        self._seconds = seconds
        self._on_giving_way = on_giving_way
        self._looks = 0
        self._used = 0.0
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        if self._reader.only_reads:
            self._looks += 1
            used = self._reader.processor_seconds()
            if self._looks == 1:
                self._used = used
            elif used - self._used >= self._seconds or self._looks > _LOOKS:
                self._reader.give_way()
                self._on_giving_way()
                return
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def stop(self) -> None:
        self._timer.cancel()
