"""The one connection that writes, and how the outcome of a commit is known in spite of a lost connection.

Every transaction sets `writers.commits` of this writer to a number of its own, before anything else. If the connection
is lost during the COMMIT, the row tells on another connection whether that transaction was committed; reading it waits
until the transaction has ended, since the row is locked. This holds after a crash and after a fail-over too, unlike the
number of a transaction, which a server may give out again. Other processes find commits by the same rows.
"""

import asyncio
from collections.abc import Awaitable
from itertools import groupby
from typing import Any, cast

import psycopg

from ci_common.errors import DatabaseUnavailable, Unavailable
from ci_persistence.database import Chain, Row
from ci_persistence.group_writer import Waiting
from ci_persistence.postgresql.connections import Conflict, Connection, Disconnected, Server, is_alive, is_idle
from ci_persistence.postgresql.session import PostgreSQLSession
from ci_persistence.stores.audit import append

CHANNEL = "ci_server"
_STATEMENT_SECONDS = 30.0
_LOCK_SECONDS = 12.0
_IDLE_SECONDS = 10.0
"""How long a vanished process keeps the rows locked that it has changed. Others wait longer for a lock."""
_RUNS = 3
"""How often a transaction is run before a conflict or a lost connection is its outcome."""
_RETRY_SECONDS = 0.2


class _RunAlone(Exception):
    """An operation of a batch has spoiled the transaction for the others. `outcome` is its own."""

    def __init__(self, outcome: Exception) -> None:
        self.outcome = outcome


class Writer:
    """Runs batches of operations in transactions; `commit` is the one of a `GroupWriter`."""

    def __init__(self, server: Server, writer_id: str, *, patience: float) -> None:
        """`patience` is how many seconds a transaction may take, and how long to ask for the outcome of a commit."""
        self._server = server
        self._id = writer_id
        self._patience = patience
        self._connection: Connection | None = None
        self._number = 0
        """Of the latest transaction."""
        self.is_open = False

    async def close(self) -> None:
        """Disconnect. May be called twice, and without a transaction."""
        self.is_open = False
        await self._disconnect()

    async def commit(self, batch: list[Waiting[Any]]) -> list[Any]:
        """Return each operation's result, or the error with which it alone failed, once the others are durable.

        Raises Unavailable where nothing was committed, or where that cannot be known.
        """
        try:
            return await self._run(batch)
        except _RunAlone as exc:
            if len(batch) == 1:
                return [exc.outcome]
        except Conflict:  # Alone, operations lock rows in the same order.
            if len(batch) == 1:
                raise
        outcomes: list[Any] = []
        for waiting in batch:
            try:
                outcomes += await self._run([waiting])
            except _RunAlone as exc:
                outcomes.append(exc.outcome)
            except Unavailable as exc:  # What has been committed stands.
                return outcomes + [exc] * (len(batch) - len(outcomes))
        return outcomes

    async def _run(self, batch: list[Waiting[Any]]) -> list[Any]:
        """Run a transaction, again where the connection was lost or, for one operation, another one was in its way."""
        for left in reversed(range(_RUNS)):
            try:
                return await self._transaction(batch)
            except (Disconnected, Conflict) as exc:
                if not left or (isinstance(exc, Conflict) and len(batch) > 1):
                    raise
        raise AssertionError("unreachable")

    async def _transaction(self, batch: list[Waiting[Any]]) -> list[Any]:
        """Run the operations and commit. Whatever this raises, nothing is committed, or that cannot be known."""
        session: PostgreSQLSession | None = None
        try:
            async with asyncio.timeout(self._patience) as limit:
                connection = await self._begin()
                session = PostgreSQLSession(self._server, connection)
                # Begun only now: a caller may be cancelled while the connection is made.
                outcomes = await self._outcomes(session, batch)
                if session.entries:
                    await append(session, session.entries)
                if not session.changes and not session.is_notifying:
                    await self._execute(connection, "ROLLBACK")
                    return outcomes
        except TimeoutError as exc:
            if not limit.expired():
                raise
            await self._disconnect()
            raise self._server.unavailable(f"a transaction took longer than {self._patience:g} seconds") from exc
        except Disconnected:
            await self._disconnect()
            raise
        except BaseException:
            await self._roll_back()
            raise
        await self._commit(connection, is_notifying=session.is_notifying)
        return outcomes

    async def _begin(self) -> Connection:
        connection = await self._connected()
        self._number += 1
        await self._execute(
            connection,
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
            f"SET LOCAL statement_timeout = {_STATEMENT_SECONDS * 1000:.0f}; "
            f"SET LOCAL lock_timeout = {_LOCK_SECONDS * 1000:.0f}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_SECONDS * 1000:.0f}; "
            f"{_mark(self._id, str(self._number))}",
        )
        return connection

    async def _outcomes(self, session: PostgreSQLSession, batch: list[Waiting[Any]]) -> list[Any]:
        """Return the outcome of each operation. The chains of those that follow one another are sent at once."""
        outcomes: dict[Waiting[Any], Any] = dict.fromkeys(batch)
        for is_chain, group in groupby(batch, lambda waiting: isinstance(waiting.operation, Chain)):
            if is_chain:
                outcomes |= await self._outcomes_of_chains(session, [waiting for waiting in group if waiting.begin()])
            else:
                for waiting in group:
                    if waiting.begin():
                        outcomes[waiting] = await self._outcome(session, waiting.operation(session))
        return list(outcomes.values())

    async def _outcomes_of_chains(
        self, session: PostgreSQLSession, begun: list[Waiting[Any]]
    ) -> dict[Waiting[Any], Any]:
        chains = [cast(Chain[Any], waiting.operation) for waiting in begun]
        if len(chains) == 1:
            return {begun[0]: await self._outcome(session, chains[0](session))}
        found = await self._outcome(session, session.run_chains([chain.commands for chain in chains]))
        if isinstance(found, Exception):  # Some of the chains may have been run.
            raise _RunAlone(found)

        async def finished(chain: Chain[Any], rows: list[Row]) -> Any:
            session.changes += bool(rows)
            return await chain.finish(session, rows)

        return {
            waiting: await self._outcome(session, finished(chain, rows))
            for waiting, chain, rows in zip(begun, chains, found, strict=True)
        }

    async def _outcome(self, session: PostgreSQLSession, running: Awaitable[Any]) -> Any:
        """Return the result of one operation, or its error where it has changed nothing."""
        changes, is_notifying, entries = session.changes, session.is_notifying, len(session.entries)
        outcome: Any
        try:
            outcome = await running
        except Exception as exc:
            outcome = exc
        if session.failure is not None:  # The operation may have caught it.
            outcome = session.failure
        elif not isinstance(outcome, Exception):
            return outcome
        elif session.changes == changes:
            session.is_notifying = is_notifying
            del session.entries[entries:]
            return outcome
        if isinstance(outcome, Unavailable):
            raise outcome  # The database itself is at fault, for all operations.
        raise _RunAlone(outcome)

    async def _commit(self, connection: Connection, *, is_notifying: bool) -> None:
        """Commit. Raises Disconnected where the transaction was not committed, Unavailable where that is not known."""
        notify = f"NOTIFY {CHANNEL}, '{self._id} {self._number}'; " if is_notifying else ""
        try:
            async with asyncio.timeout(self._patience):
                cursor = await self._execute(connection, f"{notify}COMMIT")
        except (Exception, asyncio.CancelledError) as exc:
            if isinstance(exc, Disconnected | TimeoutError) or not is_alive(connection):
                await self._disconnect()
            if isinstance(exc, asyncio.CancelledError):
                raise
            if self._connection is not None:  # The server has answered that it did not commit.
                await self._roll_back()
                raise
            if not await self._is_committed(self._number):
                raise Disconnected(f"the connection to the database {self._server.name} was lost") from exc
            return
        while cursor.nextset():
            pass
        if cursor.statusmessage != "COMMIT":
            raise self._server.unavailable(f"COMMIT was answered by {cursor.statusmessage}")

    async def _is_committed(self, number: int) -> bool:
        """Return whether the transaction with this number was committed. Raises Unavailable where that is not known."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._committed() == number
            except (Unavailable, TimeoutError) as exc:
                await self._disconnect()
                if loop.time() + _RETRY_SECONDS >= deadline:
                    raise DatabaseUnavailable(
                        f"the connection to the database {self._server.name} was lost during a commit, "
                        "and whether it was committed is not known"
                    ) from exc
            await asyncio.sleep(_RETRY_SECONDS)

    async def _committed(self) -> int:
        """Return the number of the latest transaction that was committed, once no other of this writer is open."""
        cursor = await self._execute(
            await self._connected(),
            f"BEGIN; SET LOCAL lock_timeout = {_LOCK_SECONDS * 1000:.0f}; "
            f"{_mark(self._id, 'writers.commits', '-1')} RETURNING commits; COMMIT",
        )
        for _ in range(2):
            cursor.nextset()
        return int((await cursor.fetchall())[0]["commits"])

    async def _connected(self) -> Connection:
        if not self.is_open:
            raise self._server.unavailable("it is closed")
        if self._connection is None or self._connection.closed:
            self._connection = await self._server.connect(prepares=True)
        return self._connection

    async def _execute(self, connection: Connection, statements: str) -> psycopg.AsyncCursor[dict[str, Any]]:
        """Send statements without parameters in one round trip."""
        try:
            return await connection.execute(statements.encode())
        except psycopg.Error as exc:
            error = self._server.product_error(exc)
            if error is exc:
                raise
            raise error from exc

    async def _roll_back(self) -> None:
        """End the transaction, and the connection where it cannot go on."""
        connection = self._connection
        if connection is None:
            return
        try:
            async with asyncio.timeout(self._patience):
                if is_alive(connection) and not is_idle(connection):
                    await connection.execute(b"ROLLBACK")
        except (psycopg.Error, TimeoutError):
            pass
        if not is_idle(connection):
            await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _mark(writer_id: str, commits: str, first: str = "") -> str:
    """Return the statement that sets `commits` of a writer's row, which is `first` where it has none."""
    return (
        f"INSERT INTO writers (id, commits, last_time) VALUES ('{writer_id}', {first or commits}, now()) "
        "ON CONFLICT (id) DO UPDATE SET last_time = excluded.last_time, commits = "
        + ("writers.commits" if first else "excluded.commits")
    )
