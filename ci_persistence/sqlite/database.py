"""The `Database` on SQLite: three connections, one of which writes."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ci_common.errors import DatabaseUnavailable, Locked, NoRoom, Unavailable
from ci_common.jobs import Job
from ci_common.system.disk import Ballast
from ci_common.system.watch import FileWatcher, Watched
from ci_common.times import uptime
from ci_persistence.changes import ChangeNotifier
from ci_persistence.database import Operation
from ci_persistence.group_writer import GroupWriter, Waiting
from ci_persistence.sqlite import statements
from ci_persistence.sqlite.commit_watch import WalWatch
from ci_persistence.sqlite.connections import Connection, SQLiteSession, product_error, run_to_end, translated
from ci_persistence.sqlite.schema import bring_up_to_date, check_version
from ci_persistence.stores.audit import append

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_RESERVE_SECONDS = 10.0
"""How often to check that disk space is reserved."""


class SQLiteDatabase:
    """The `Database` in the file `path`, which is made where there is none.

    A write waits at most `busy_timeout` seconds for other processes before it raises Locked; `open` waits at most
    `patience` seconds.
    """

    def __init__(self, path: Path, *, busy_timeout: float = 5.0, patience: float = 60.0) -> None:
        self._path = path.absolute()
        self._busy_timeout = busy_timeout
        self._patience = patience
        self._connected: _Connected | None = None

    async def open(self) -> None:
        if self._connected is not None:
            return
        check_version()
        with translated(self._path):
            # Jobs may contain secrets. SQLite gives the files beside the database the same mode.
            self._path.touch(mode=0o600)
        deadline = time.monotonic() + self._patience
        while self._connected is None:
            try:
                self._connected = await _Connected.connect(self._path, self._busy_timeout)
            except Locked as exc:
                if time.monotonic() >= deadline:
                    raise
                log.error("waiting for the database: %s", exc)
                await asyncio.sleep(min(1.0, self._busy_timeout))

    async def close(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.close()

    async def read(self, operation: Operation[Result], *, snapshot: bool = False) -> Result:
        query = _read_at_one_moment if snapshot else _read
        return await self._use().quick.run(partial(query, operation))

    async def search(self, operation: Operation[Result]) -> Result:
        return await self._use().search.run(partial(_read, operation))

    async def write(self, operation: Operation[Result], *, certain: bool = False, vital: bool = True) -> Result:
        return await self._use().writer.run(operation, certain=certain, vital=vital)

    def changes(self, on_row: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        return self._use().notifier.follow(on_row)

    def _use(self) -> "_Connected":
        if self._connected is None:
            raise DatabaseUnavailable(f"the database {self._path} is not open")
        return self._connected


def _read(operation: Operation[Result], connection: sqlite3.Connection) -> Result:
    return run_to_end(operation, SQLiteSession(connection))


def _read_at_one_moment(operation: Operation[Result], connection: sqlite3.Connection) -> Result:
    connection.execute(statements.BEGIN_READING)
    try:
        return _read(operation, connection)
    finally:
        connection.execute(statements.COMMIT)


class _Connected:
    """What an open database holds.

    Short reads, searches and writes have connections of their own, so a search through all jobs delays nothing else.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        def connection(setup: tuple[str, ...] = statements.CONFIGURE_READER) -> Connection:
            return Connection(path, busy_timeout=busy_timeout, setup=setup)

        self.quick = connection()
        self.search = connection()
        self.writing = connection(statements.CONFIGURE_WRITER)
        self.watcher = FileWatcher()
        # SQLite follows a link to a database, and puts its files beside the target.
        wal = path.resolve().with_name(path.resolve().name + "-wal")
        watch = WalWatch(
            partial(self.writing.run, _data_version), partial(self.watcher.subscribe, (wal, Watched.CONTENT))
        )
        self.notifier = ChangeNotifier(watch)
        transactions = Transactions(path, self.writing, watch)
        self.writer = GroupWriter(transactions.commit, self.notifier, transactions.reserve_space)
        self._closing = AsyncExitStack()
        for closing in (self.writing.close, self.writer.finish, self.search.close, self.quick.close):
            self._closing.push_async_callback(closing)

    @classmethod
    async def connect(cls, path: Path, busy_timeout: float) -> "_Connected":
        connected = cls(path, busy_timeout)
        try:
            await connected.writing.open()
            await connected.writing.run(bring_up_to_date)
            for reading in (connected.quick, connected.search):
                await reading.open()
            await connected._closing.enter_async_context(connected.watcher)
        except BaseException:
            await connected.close()
            raise
        return connected

    async def close(self) -> None:
        await self._closing.aclose()


def _data_version(connection: sqlite3.Connection) -> int:
    (row,) = connection.execute(statements.DATA_VERSION)
    return int(row[0])


class _PartlyDone(Exception):
    """An operation has failed after it had changed something, so the transaction must be rolled back."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Transactions:
    """Runs groups of operations in transactions of the writing connection, and reserves disk space for them."""

    def __init__(self, path: Path, connection: Connection, watch: WalWatch) -> None:
        self._path = path
        self._connection = connection
        self._watch = watch
        self._ballast = Ballast(path)
        self._reserve_due = 0.0

    async def commit(self, batch: list[Waiting[Any]]) -> list[Any]:
        """Return each operation's result or error, once all that succeeded are durable. Raises Unavailable."""
        try:
            with self._watch.own_commit():
                return await self._connection.run(partial(self._commit, batch))
        except NoRoom as exc:
            return await self._commit_on_full_disk(batch, exc)

    async def _commit_on_full_disk(self, batch: list[Waiting[Any]], error: NoRoom) -> list[Any]:
        """Run the vital operations again with the reserved space; only they can free some of the disk."""
        vital = [waiting for waiting in batch if waiting.vital]
        outcomes: dict[Waiting[Any], Any] = {}
        if vital and self._ballast.give_up():
            try:
                with self._watch.own_commit():
                    done = await self._connection.run(partial(self._commit, vital))
                outcomes = dict(zip(vital, done, strict=True))
            except Exception as exc:
                outcomes = dict.fromkeys(vital, exc)
        return [outcomes.get(waiting, error) for waiting in batch]

    async def reserve_space(self) -> None:
        """Reserve disk space again after it was given up. Runs after the first commit, and then at intervals."""
        now = uptime()
        if now >= self._reserve_due:
            self._reserve_due = now + _RESERVE_SECONDS
            with suppress(Unavailable):  # For example once it is closed.
                await self._connection.run(lambda _: self._ballast.take())

    def _commit(self, batch: list[Waiting[Any]], connection: sqlite3.Connection) -> list[Any]:
        """Return each operation's result, or the error with which it alone failed. Runs in the connection's thread."""
        try:
            return self._commit_together(batch, connection)
        except _PartlyDone as exc:
            if len(batch) == 1:
                return [exc.error]
        return [outcome for waiting in batch for outcome in self._commit([waiting], connection)]

    def _commit_together(self, batch: list[Waiting[Any]], connection: sqlite3.Connection) -> list[Any]:
        connection.execute(statements.BEGIN)
        try:
            # Begun only now: a caller may be cancelled while the transaction waits for other processes.
            session = SQLiteSession(connection)
            outcomes = [self._outcome(waiting, session) if waiting.begin() else None for waiting in batch]
            session.add_sums()
            if session.entries:
                run_to_end(partial(append, entries=session.entries), session)
            connection.execute(statements.COMMIT)
        except BaseException:
            if connection.in_transaction:
                connection.execute(statements.ROLLBACK)
            raise
        return outcomes

    def _outcome(self, waiting: Waiting[Any], session: SQLiteSession) -> Any:
        changes, entries, sums = session.changes, len(session.entries), len(session.sums)
        try:
            return run_to_end(waiting.operation, session)
        except Exception as exc:
            if isinstance(exc, Unavailable):
                raise
            error = product_error(exc, self._path)
            if isinstance(error, Unavailable):
                raise error from exc  # The database itself is at fault, for all operations.
            if session.changes != changes:
                raise _PartlyDone(error) from exc
            del session.entries[entries:], session.sums[sums:]
            return error
