"""Runs the writes that arrive during a commit together, in the next transaction, for either database."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ci_persistence.changes import ChangeNotifier
from ci_persistence.database import Operation

Result = TypeVar("Result")


class Waiting(asyncio.Future[Result]):
    """An operation that waits for its commit, and the future that its caller awaits.

    Where `certain`, the caller cannot be cancelled once the operation has begun. Where not `vital`, a full disk refuses
    it.
    """

    def __init__(self, operation: Operation[Result], *, certain: bool, vital: bool) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.operation = operation
        self.vital = vital
        self._certain = certain
        self._claim = threading.Lock()
        self._begun = False

    def cancel(self, msg: Any | None = None) -> bool:
        if self._certain and not self._claim.acquire(blocking=False):
            return False
        return super().cancel(msg)

    def begin(self) -> bool:
        """Return whether the operation may run, once more if it has begun: its caller was not cancelled."""
        if self.done():
            return False
        self._begun = self._begun or self._claim.acquire(blocking=False)
        return self._begun


Commit = Callable[[list[Waiting[Any]]], Awaitable[list[Any]]]
"""Runs operations in one transaction, and returns the result or the error of each once all others are durable.

It raises where the database itself is at fault, for all operations.
"""


class GroupWriter:
    """The one writer of a database object."""

    def __init__(self, commit: Commit, notifier: ChangeNotifier, after: Callable[[], Awaitable[None]]) -> None:
        """`notifier` is told of every commit before the callers of its operations continue; `after` runs after them."""
        self._commit = commit
        self._notifier = notifier
        self._after = after
        self._waiting: list[Waiting[Any]] = []
        self._work: asyncio.Task[None] | None = None

    async def run(self, operation: Operation[Result], *, certain: bool, vital: bool) -> Result:
        """Run a write, as `Database.write` promises."""
        waiting = Waiting(operation, certain=certain, vital=vital)
        self._waiting.append(waiting)
        if self._work is None:
            self._work = asyncio.create_task(self._commit_waiting(), name="database writer")
        try:
            return await waiting
        except asyncio.CancelledError:
            if not certain:
                raise
            return waiting.result()  # The same error, unless the operation had begun.

    async def finish(self) -> None:
        """Finish the operations that were begun."""
        if self._work is not None:
            await asyncio.wait({self._work})

    async def _commit_waiting(self) -> None:
        while batch := [waiting for waiting in self._waiting if not waiting.done()]:
            self._waiting.clear()
            try:
                outcomes = await self._commit(batch)
            except Exception as exc:
                outcomes = [exc] * len(batch)
            self._notifier.notify(outcomes)
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.done():
                    continue
                if isinstance(outcome, Exception):
                    waiting.set_exception(outcome)
                else:
                    waiting.set_result(outcome)
            await self._after()
        self._waiting.clear()
        self._work = None
