"""The seam between the stores and a database: what a store may ask of SQLite and of PostgreSQL alike.

A store's operation is a coroutine function that takes a `Session` and awaits nothing but its methods. The database runs
it: PostgreSQL on the event loop, SQLite to its end in a connection's thread, with one change of threads for the whole
operation. An operation may run a second time where the first one left nothing behind.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ci_common.jobs import Job
from ci_common.sharing.audit import Entry
from ci_persistence.dialects import Statement

Result = TypeVar("Result")
Row = Mapping[str, Any]
"""One row by column. Both drivers' rows have what is used of a mapping: `row[name]` and `keys()`."""
Values = Mapping[str, Any]
"""The values of a statement's parameters: None, str, int and float."""
NO_VALUES: Values = {}
Command = tuple[Statement, Values]
"""A statement to run, with its values."""


class Session(Protocol):
    """One connection for the length of an operation, inside a transaction where the operation writes."""

    @property
    def changes(self) -> int:
        """A number that is another one once the transaction has changed something more."""

    async def rows(self, statement: Statement, values: Values = NO_VALUES) -> list[Row]:
        """Run a statement, and return its rows."""

    async def row(self, statement: Statement, values: Values = NO_VALUES) -> Row:
        """Run a statement that always returns exactly one row, and return it."""

    async def execute(self, statement: Statement, values: Values = NO_VALUES) -> int:
        """Run a statement, and return how many rows it has changed."""

    async def execute_many(self, statement: Statement, values: Sequence[Values]) -> int:
        """Run a statement once for each of these values, and return how many rows all of that has changed."""

    async def chain(self, first: Command, *then: Command) -> list[Row]:
        """Run a statement that returns the rows that it changes, and if there are any, the others; return these rows.

        The first statement returns them with RETURNING, or where only their number matters, with
        `Dialect.returning_changed`; then they are empty or not, as the database likes.

        PostgreSQL runs all of them as one statement. So the others have the condition `Dialect.given`, and read nothing
        that another one of the chain writes.
        """

    async def decoded(self, decode: Callable[[Row], Result], rows: Sequence[Row]) -> list[Result]:
        """Return what `decode` makes of each row. A thread decodes large rows, and many: that takes milliseconds."""

    def notify(self) -> None:
        """Wake other processes that follow the database, once the operation is committed.

        What does not call it is seen by them within seconds. On SQLite every commit wakes them.
        """

    def record(self, entry: Entry) -> None:
        """Add an entry to the audit in this transaction, at its end, if the operation succeeds."""


Operation = Callable[[Session], Awaitable[Result]]
"""What a store does in one transaction. It raises errors of the product, and ValueError for a broken constraint."""


@dataclass(frozen=True, slots=True)
class Chain(Generic[Result]):
    """An operation that runs one chain of commands. PostgreSQL gets the chains of several operations at once."""

    commands: tuple[Command, ...]
    finish: Callable[[Session, list[Row]], Awaitable[Result]]
    """Returns the operation's result, given the rows of the chain."""

    async def __call__(self, session: Session) -> Result:
        return await self.finish(session, await session.chain(*self.commands))


class Database(Protocol):
    """One installation's database. For one event loop.

    Every method may raise `Unavailable` where the database cannot be reached or its disk is full; nothing is
    half-written then.
    """

    async def open(self) -> None:
        """Connect, and bring the schema up to date; wait a while where another program keeps the database locked.

        Raises Unavailable, also where a newer version wrote the database.
        """

    async def close(self) -> None:
        """Finish the running operations and disconnect. May be called twice, and without `open`."""

    async def read(self, operation: Operation[Result], *, snapshot: bool = False) -> Result:
        """Return what `operation` returns. It should take milliseconds.

        With `snapshot`, all of its statements see the database at one moment.
        """

    async def search(self, operation: Operation[Result]) -> Result:
        """Return what `operation` returns. It may take seconds, and delays neither writes nor other reads."""

    async def write(self, operation: Operation[Result], *, certain: bool = False, vital: bool = True) -> Result:
        """Return what `operation` returns once it is durable, or raise what it raises; then it has changed nothing.

        Operations that arrive during a commit share the next transaction. A cancelled caller's operation may still run
        if it has begun, and never does if it has not. With `certain`, the caller learns the outcome: CancelledError
        means that the operation never runs; if it has begun, its result is returned or its error raised in spite of the
        cancellation. Operations that are not `vital` are refused on a full disk, where others may use reserved space.
        """

    def changes(self, on_row: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        """Yield soon after every commit to the database, by this process or by any other.

        Several commits may cause one yield, and a yield may come without a commit; a commit made after the iteration
        began is never missed. The first `anext` returns at once. Close the iterator with `aclose` when done.

        With `on_row`, it is called with every job that a write through this object has returned, as soon as that is
        durable. Then only other changes cause a yield: commits of others, and writes that returned something else.
        """
