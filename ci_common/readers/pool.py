"""The readers of a server: started before they are needed, kept, and replaced when they die."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ci_common.errors import RequestError
from ci_common.readers.confinement import ReadingLimits
from ci_common.readers.process import Reader
from ci_common.readers.verdicts import ReaderLost, judged, result_of

AT_ONCE = 4
_SLOW_SECONDS = 0.25
_IDLE_SECONDS = 600.0
_NAMES = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """A task for a reader."""

    task: str
    """Its name in the module's TASKS."""
    argument: dict[str, Any]
    root: Path
    """The directory whose files are read or written."""
    refusal: type[RequestError]
    """What is raised where the upload is at fault, with the names of its files."""
    writes: bool = False
    """Whether it writes files. Such a task keeps its place to its end, and is sure of the file that it is at."""


class Readers:
    """A pool of readers, as an asynchronous context. For one event loop.

    AT_ONCE tasks are done at once. One that only reads and takes longer than others gives its place away: it goes on
    at a low priority, and those behind it do not wait for it.
    """

    def __init__(self, tasks: str, limits: ReadingLimits, *, slow_seconds: float = _SLOW_SECONDS) -> None:
        """`tasks` is the name of a module."""
        self._tasks = tasks
        self._limits = limits
        self._slow_seconds = slow_seconds
        self._places = asyncio.Semaphore(AT_ONCE)
        self._idle: list[Reader] = []
        self._busy: set[Reader] = set()
        self._starting: asyncio.Task[None] | None = None
        self._letting_go: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._start_one()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closed = True
        if self._letting_go is not None:
            self._letting_go.cancel()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        ends = [*(self._end(reader) for reader in self._idle), *(reader.end() for reader in self._busy)]
        await asyncio.gather(*ends, *self._ending)
        self._idle.clear()

    @property
    def pids(self) -> list[int]:
        """The processes there are, for those who watch them."""
        return [reader.pid for reader in [*self._idle, *self._busy]]

    async def ready(self) -> None:
        """Wait until the first reader can take a task."""
        if self._starting is not None:
            await asyncio.shield(self._starting)

    async def do(self, work: Work, *, on_advance: Callable[[], None] = lambda: None) -> Any:
        """Return the result of a task, for which nothing runs any longer once this has ended, in whatever way.

        `on_advance` is called once in a while, and before every MiB that is written; what it raises ends the task.
        Raises the work's `refusal` where the files take more than the limits allow or cannot be read; what the task
        itself raises; Unavailable where no process can be started; and ReaderLost where two readers in turn have died
        of something else.
        """
        async with self._place() as place:
            try:
                return await self._try(work, place, on_advance, again=False)
            except ReaderLost as exc:
                log.warning("a reader is lost, another one takes over: %s", exc)
            return await self._try(work, place, on_advance, again=True)

    async def _try(self, work: Work, place: "_Place", on_advance: Callable[[], None], *, again: bool) -> Any:
        reader = await (Reader.start(self._tasks) if again else self._take())
        self._busy.add(reader)
        try:
            with place.lent_to(reader, None if work.writes else self._slow_seconds):
                answer = await self._answer(reader, work, on_advance, again=again)
            return result_of(answer, work.root, reader.files(work.root), self._limits, work.refusal)
        finally:
            self._busy.discard(reader)
            await self._give_back(reader)

    async def _answer(
        self, reader: Reader, work: Work, on_advance: Callable[[], None], *, again: bool
    ) -> dict[str, Any]:
        request = {
            "task": work.task,
            "argument": work.argument | {"again": again},
            "root": str(work.root),
            "names": 1 if work.writes else _NAMES,
            "writes": work.writes,
            "seconds": self._limits.seconds,
            "memory": self._limits.memory,
        }
        before = reader.processor_seconds()
        try:
            return await reader.ask(request, silence=self._limits.longest_silence, on_advance=on_advance)
        except (TimeoutError, OSError, EOFError) as exc:
            spent, status = reader.processor_seconds() - before, await reader.end()
            silent = isinstance(exc, TimeoutError)
            files = reader.files(work.root)
            raise judged(status, spent, files, self._limits, work.refusal, silent=silent) from exc
        except BaseException:
            await reader.end()
            raise

    async def _take(self) -> Reader:
        await self.ready()
        while self._idle:
            reader = self._idle.pop()
            if reader.can_work:
                return reader
            await self._end(reader)
        return await Reader.start(self._tasks)

    async def _give_back(self, reader: Reader) -> None:
        if not reader.is_worn and not self._is_closed:
            self._idle.append(reader)
            self._let_go_later()
            return
        await self._end(reader)
        if not self._idle:
            self._start_one()

    async def _end(self, reader: Reader) -> None:
        await reader.end()
        reader.forget()

    def _start_one(self) -> None:
        if not self._is_closed and (self._starting is None or self._starting.done()):
            self._starting = asyncio.create_task(self._start(), name="reader")

    async def _start(self) -> None:
        try:
            self._idle.append(await Reader.start(self._tasks))
        except Exception as exc:
            log.warning("no reader can be started before it is needed: %s", exc)

    def _let_go_later(self) -> None:
        if len(self._idle) > 1 and self._letting_go is None:
            self._letting_go = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._let_go)

    def _let_go(self) -> None:
        """End the readers beyond one that have had nothing to do; of those that are used, the last one is."""
        self._letting_go = None
        if len(self._idle) > 1:
            reader = self._idle.pop(0)
            self._ending.add(task := asyncio.create_task(self._end(reader), name="reader's end"))
            task.add_done_callback(self._ending.discard)
        self._let_go_later()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator["_Place"]:
        await self._places.acquire()
        place = _Place(self._places)
        try:
            yield place
        finally:
            place.leave()


class _Place:
    """One of the places at once, until it is left or given away."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_held = True

    def leave(self) -> None:
        if self._is_held:
            self._is_held = False
            self._places.release()

    @contextmanager
    def lent_to(self, reader: Reader, slow_seconds: float | None) -> Iterator[None]:
        """Give the place away, and the reader's priority, once the context has lasted that long."""
        if slow_seconds is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(slow_seconds, self._give_away, reader)
        try:
            yield
        finally:
            timer.cancel()

    def _give_away(self, reader: Reader) -> None:
        reader.give_way()
        self.leave()
