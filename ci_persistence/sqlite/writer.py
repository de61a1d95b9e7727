"""The one writer: what waits while a commit is under way goes together into the next one."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ci_common.errors import NoRoom, Unavailable
from ci_common.system.disk import Ballast
from ci_common.times import uptime
from ci_persistence.sqlite import queries
from ci_persistence.sqlite.change_notifier import News
from ci_persistence.sqlite.connections import Lane, Query, Result, translated

_ROOM_SECONDS = 10.0
"""How often to see that room is kept back."""
Together = Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
"""Carries out several operations of one kind by a few statements; returns each one's result, or the error it alone met.

It raises whatever else it meets: then all is undone, and each operation of the commit is carried out by itself.
"""


class _Waiting(asyncio.Future[Result]):
    """An operation that is to be carried out, as what its caller waits for.

    Where `certainly`, it cannot be cancelled once it has begun.
    """

    def __init__(self, operation: Query[Result], *, certainly: bool) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.operation = operation
        self._certainly = certainly
        self._claim = threading.Lock()
        self._taken = False

    def cancel(self, msg: Any | None = None) -> bool:
        if self._certainly and not self.claim():
            return False
        return super().cancel(msg)

    def take(self) -> bool:
        """Tell whether the writer may carry it out, and may go on to where it has to be carried out once more."""
        self._taken = self._taken or self.claim()
        return self._taken

    def claim(self) -> bool:
        """Tell whether it was nobody's yet: the writer claims it to carry it out, its caller to take it back."""
        return self._claim.acquire(blocking=False)


class Writer:
    """Puts operations that come while a commit is under way together into the next one.

    An operation writes with one statement at most, and fails before it or by it: so what fails has changed nothing.
    """

    def __init__(
        self,
        path: Path,
        lane: Lane,
        news: News,
        groups: Mapping[type, Together] | None = None,
        optional: tuple[type, ...] = (),
    ) -> None:
        """`news` are told of every commit, before those who wait for it go on.

        Operations of the types `optional` get none of the room that is kept back for a full disk.
        `groups` has, by the type of some operations, what carries out many of them at the cost of few.
        """
        self._path = path
        self._lane = lane
        self._groups = groups or {}
        self._optional = optional
        self._ballast = Ballast(path)
        self._room_due = 0.0
        self._news = news
        self._waiting: list[_Waiting[Any]] = []
        self._work: asyncio.Task[None] | None = None

    async def run(self, operation: Query[Result]) -> Result:
        """Return what `operation` returns once it is durable, or raise what it raises.

        An operation whose caller is cancelled may still be carried out if it has begun, and never if it has not.
        """
        return await self._enter(_Waiting(operation, certainly=False))

    async def run_certainly(self, operation: Query[Result]) -> Result:
        """Do the same for a caller that has to know: CancelledError means that it never will be carried out.

        Where it has begun, its outcome is returned or raised although the caller was cancelled.
        """
        waiting = self._enter(_Waiting(operation, certainly=True))
        try:
            return await waiting
        except asyncio.CancelledError:
            return waiting.result()  # Which is this error again, unless the operation had begun.

    def _enter(self, waiting: _Waiting[Result]) -> _Waiting[Result]:
        self._waiting.append(waiting)
        if self._work is None:
            self._work = asyncio.create_task(self._commit_waiting(), name="database writer")
        return waiting

    async def close(self) -> None:
        """Finish what was begun and disconnect."""
        if self._work is not None:
            await asyncio.wait({self._work})
        await self._lane.close()

    async def _commit_waiting(self) -> None:
        while batch := [waiting for waiting in self._waiting if not waiting.done()]:
            self._waiting.clear()
            with self._news.own_commit():
                outcomes = await self._outcomes(batch)
            self._news.committed(outcomes)
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.done():
                    continue
                if isinstance(outcome, Exception):
                    waiting.set_exception(outcome)
                else:
                    waiting.set_result(outcome)
            await self._keep_room_back()
        self._waiting.clear()
        self._work = None

    async def _outcomes(self, batch: list[_Waiting[Any]]) -> list[Any]:
        """Return each operation's result or error, once all that succeeded are durable."""
        try:
            return await self._lane.run(partial(self._commit_together, batch))
        except NoRoom as exc:
            return await self._outcomes_with_more_room(batch, exc)
        except Exception as exc:
            return [exc] * len(batch)

    async def _outcomes_with_more_room(self, batch: list[_Waiting[Any]], error: NoRoom) -> list[Any]:
        """Carry out what makes room again, now or later, with the room that was kept back for that."""
        vital = [waiting for waiting in batch if not isinstance(waiting.operation, self._optional)]
        outcomes: dict[_Waiting[Any], Any] = {}
        if vital and self._ballast.give_up():
            try:
                done = await self._lane.run(partial(self._commit_together, vital))
                outcomes = dict(zip(vital, done, strict=True))
            except Exception as exc:
                outcomes = dict.fromkeys(vital, exc)
        return [outcomes.get(waiting, error) for waiting in batch]

    async def _keep_room_back(self) -> None:
        """Take again, now and then, what was given up. The first time is after the first commit."""
        now = uptime()
        if now >= self._room_due:
            self._room_due = now + _ROOM_SECONDS
            with suppress(Unavailable):  # As once it is closed.
                await self._lane.run(lambda _: self._ballast.take())

    def _commit_together(self, batch: list[_Waiting[Any]], connection: sqlite3.Connection) -> list[Any]:
        """Return each operation's result, or the error with which it alone failed. Runs in the connection's thread."""
        connection.execute(queries.BEGIN)
        try:
            # Whose caller went away while the transaction waited for other processes is left out.
            claimed = [waiting for waiting in batch if not waiting.done() and waiting.take()]
            outcomes = self._carry_out(claimed, connection)
            connection.execute(queries.COMMIT)
        except BaseException:
            if connection.in_transaction:
                connection.execute(queries.ROLLBACK)
            raise
        return [outcomes.get(waiting) for waiting in batch]

    def _carry_out(self, batch: list[_Waiting[Any]], connection: sqlite3.Connection) -> dict[_Waiting[Any], Any]:
        outcomes = self._carry_out_groups(batch, connection)
        if outcomes is None:
            connection.execute(queries.ROLLBACK)
            connection.execute(queries.BEGIN)
            outcomes = {}
        for waiting in batch:
            if waiting not in outcomes:
                outcomes[waiting] = self._attempt(partial(waiting.operation, connection))
        return outcomes

    def _carry_out_groups(
        self, batch: list[_Waiting[Any]], connection: sqlite3.Connection
    ) -> dict[_Waiting[Any], Any] | None:
        """Return the outcomes of what can be carried out together, or None where some of it fails."""
        outcomes: dict[_Waiting[Any], Any] = {}
        for kind, together in self._groups.items():
            group = [waiting for waiting in batch if isinstance(waiting.operation, kind)]
            if len(group) > 1:
                results = self._attempt(partial(together, connection, [waiting.operation for waiting in group]))
                if isinstance(results, Exception):
                    return None
                outcomes.update(zip(group, results, strict=True))
        return outcomes

    def _attempt(self, act: Callable[[], Any]) -> Any:
        """Return what `act` returns, or the error that is its own."""
        try:
            with translated(self._path):
                return act()
        except Unavailable:
            raise  # The database itself is at fault, for all of them.
        except Exception as exc:
            return exc
