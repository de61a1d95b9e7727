"""A database whose writes tell the audit what they are, in the transaction that makes them durable."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ci_common.jobs import Job
from ci_common.sharing.audit import Entry
from ci_persistence.database import Chain, Database, Operation, Row, Session

Result = TypeVar("Result")


class Note(Protocol):
    """What the audit is to say of a request or a command."""

    is_written: bool
    """Whether it is durable."""

    def entry(self) -> Entry:
        """Return it as it is known now. May be called in another thread."""


@dataclass
class Noted:
    """A note whose entry is known from the beginning, as that of a command."""

    what: Entry
    is_written: bool = False

    def entry(self) -> Entry:
        return self.what


class AuditedDatabase:
    """The same database, for one request: its first write that changes something adds the note's entry."""

    def __init__(self, database: Database, note: Note) -> None:
        self._database = database
        self._note = note

    async def open(self) -> None:
        await self._database.open()

    async def close(self) -> None:
        await self._database.close()

    async def read(self, operation: Operation[Result], *, snapshot: bool = False) -> Result:
        return await self._database.read(operation, snapshot=snapshot)

    async def search(self, operation: Operation[Result]) -> Result:
        return await self._database.search(operation)

    async def write(self, operation: Operation[Result], *, certain: bool = False, vital: bool = True) -> Result:
        if self._note.is_written:
            return await self._database.write(operation, certain=certain, vital=vital)
        recording = _Recording(self._note)
        result = await self._database.write(recording.of(operation), certain=certain, vital=vital)
        self._note.is_written = recording.has_recorded
        return result

    def changes(self, on_row: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        return self._database.changes(on_row)


class _Recording:
    """Adds the entry of a note to what an operation does. The operation may be run again, where nothing was left."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self.has_recorded = False

    def of(self, operation: Operation[Result]) -> Operation[Result]:
        """Return the operation that does both."""
        if isinstance(operation, Chain):
            chain: Chain[Result] = operation

            async def finish(session: Session, rows: list[Row]) -> Result:
                result = await chain.finish(session, rows)
                self._record(session, has_changed=bool(rows))
                return result

            return Chain(chain.commands, finish)

        async def run(session: Session) -> Result:
            before = session.changes
            result = await operation(session)
            self._record(session, has_changed=session.changes != before)
            return result

        return run

    def _record(self, session: Session, *, has_changed: bool) -> None:
        if has_changed:
            session.record(self._note.entry())
        self.has_recorded = has_changed
