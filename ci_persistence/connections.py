"""Threads and connections: many readers, and one writer that puts what waits together into one commit.

The standard library's sqlite3 lets other threads run while it works, so a query is one trip to a thread and back,
however many statements it takes. This is the one place where SQLite's errors become the product's.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ci_common.errors import Unavailable
from ci_persistence import queries

Result = TypeVar("Result")
Query = Callable[[sqlite3.Connection], Result]
"""What to do with a connection, in its thread."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into Unavailable, and a broken CHECK, trigger or UNIQUE into ValueError.

    Misuse of sqlite3 by ourselves stays what it is: a bug.
    """
    try:
        yield
    except sqlite3.IntegrityError as exc:
        raise ValueError(f"this would break the database's rules: {exc}") from exc
    except (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.NotSupportedError):
        raise
    except (sqlite3.Error, OSError) as exc:
        raise Unavailable(f"the database {path} cannot be used: {exc}") from exc


def _named(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip([column[0] for column in cursor.description], row, strict=True))


class Lane:
    """A few threads with a connection each. Connects when first used.

    `setup` is run on each new connection; `busy_timeout` is how long, in seconds, to wait for another writer.
    """

    def __init__(self, path: Path, *, threads: int, busy_timeout: float, setup: Iterable[str]) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._setup = tuple(setup)
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._threads = ThreadPoolExecutor(threads, "database")
        self._closed = False

    def run(self, query: Query[Result]) -> asyncio.Future[Result]:
        """Return what `query` returns, or raise what it raises. Raises Unavailable once closed."""
        if self._closed:
            raise Unavailable(f"the database {self._path} is closed")
        return asyncio.get_running_loop().run_in_executor(self._threads, self._lend, query)

    async def close(self) -> None:
        """Finish what was begun and disconnect."""
        self._closed = True
        await asyncio.to_thread(self._disconnect)

    def _lend(self, query: Query[Result]) -> Result:
        with translated(self._path):
            try:
                connection = self._idle.get_nowait()
            except Empty:
                connection = self._connect()
            try:
                return query(connection)
            finally:
                self._idle.put(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = _named
            for statement in self._setup:
                connection.execute(statement).close()
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get().close()


class Writer:
    """Puts operations that come while a commit is under way together into the next one. Its lane has one thread."""

    def __init__(self, path: Path, lane: Lane) -> None:
        self._path = path
        self._lane = lane
        self._waiting: list[tuple[Query[Any], asyncio.Future[Any]]] = []
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, operation: Query[Result]) -> Result:
        """Return what `operation` returns once it is durable, or raise what it raises; then it has changed nothing.

        An operation whose caller is cancelled may still be carried out.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._idle.is_set():
            self._idle.clear()
            self._commit_waiting()
        return await future

    async def close(self) -> None:
        """Finish what was begun and disconnect."""
        await self._idle.wait()
        await self._lane.close()

    def _commit_waiting(self) -> None:
        batch = [(operation, future) for operation, future in self._waiting if not future.done()]
        self._waiting.clear()
        if not batch:
            self._idle.set()
            return
        commit = self._lane.run(partial(self._commit_together, [operation for operation, _ in batch]))
        commit.add_done_callback(partial(self._deliver, [future for _, future in batch]))

    def _deliver(self, futures: list[asyncio.Future[Any]], commit: asyncio.Future[list[Any]]) -> None:
        failure = commit.exception()
        outcomes = [failure] * len(futures) if failure else commit.result()
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._commit_waiting()

    def _commit_together(self, operations: list[Query[Any]], connection: sqlite3.Connection) -> list[Any]:
        """Return each operation's result, or the error with which it alone failed."""
        connection.execute(queries.BEGIN)
        try:
            outcomes = [self._attempt(operation, connection) for operation in operations]
            connection.execute(queries.COMMIT)
        except BaseException:
            if connection.in_transaction:
                connection.execute(queries.ROLLBACK)
            raise
        return outcomes

    def _attempt(self, operation: Query[Any], connection: sqlite3.Connection) -> Any:
        connection.execute(queries.SAVEPOINT)
        try:
            with translated(self._path):
                result = operation(connection)
        except Unavailable:
            raise  # The database itself is at fault, for all of them.
        except Exception as exc:
            connection.execute(queries.ROLLBACK_TO)
            result = exc
        connection.execute(queries.RELEASE)
        return result
