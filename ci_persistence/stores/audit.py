"""The audit: entries that are chained by their digests, in the order in which they were committed.

An operation has its entry written by `Session.record`. The transaction writes the entries of all its operations at its
end: it locks the one row with the end of the chain as the last thing before the commit, so that the processes of one
database make one chain, and none waits for a lock while it holds that one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from ci_common.sharing.audit import Broken, Chain, Entry, Mark, Outcome, Recorded, Verified, recorded, recorded_on_wire
from ci_common.times import to_micros
from ci_persistence.database import Database, Row, Session
from ci_persistence.dialects import Statement
from ci_persistence.stores.leases import Lease, check_leads, leads

_COLUMNS: Final = {
    "number": "bigint",
    "time": "bigint",
    "action": "text",
    "actor": "text",
    "key_id": "text",
    "address": "text",
    "request": "text",
    "target": "text",
    "project": "text",
    "outcome": "text",
    "reason": "text",
    "count": "bigint",
    "previous": "text",
    "digest": "text",
}
_OF_ENTRY: Final = tuple(name for name in _COLUMNS if name not in ("number", "previous", "digest"))
_NAMES: Final = ", ".join(_COLUMNS)
_PAGE: Final = 1000
"""How many entries are checked at a time."""

_LOCK_END = Statement(lambda sql: f"SELECT number, digest FROM audit_ends WHERE name = 'last'{sql.update_lock}")
_SET_END = Statement(
    lambda sql: f"UPDATE audit_ends SET number = :number, digest = :digest WHERE name = 'last'{sql.returning_changed}"
)
_INSERT = Statement(lambda sql: f"INSERT INTO audit ({_NAMES}) {sql.each('rows', **_COLUMNS)}", many="rows")
_ENDS = Statement("SELECT name, number, digest FROM audit_ends")
_FOLLOWING = Statement(f"SELECT {_NAMES} FROM audit WHERE number > :after ORDER BY number LIMIT :limit")
_CONDITIONS: Final = {
    "actor": "actor = :actor",
    "action": "action = :action",
    "target": "(target = :target OR substr(target, 1, length(CAST(:below AS text))) = :below)",
    "project": "project = :project",
    "outcome": "outcome = :outcome",
    "since": "time >= :since",
    "before": "time < :before",
}
# Times of several processes may be out of order, so only the entries before the first that is kept go.
_FIRST_KEPT = Statement("""
SELECT coalesce(
    (SELECT min(number) FROM audit WHERE time >= :before), (SELECT max(number) + 1 FROM audit), 0) AS number
""")
_LAST_REMOVED = Statement("""
SELECT number, digest FROM audit WHERE number < :first_kept
AND number <= (SELECT min(number) FROM audit) + :limit - 1 ORDER BY number DESC LIMIT 1
""")
_NOTE_REMOVED = Statement(
    lambda sql: (
        f"UPDATE audit_ends SET number = :number, digest = :digest WHERE name = 'removed' AND {leads(sql.share_lock)}"
    )
)
_REMOVE = Statement("DELETE FROM audit WHERE number <= :number")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted; None does not narrow."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    """The path of a thing: entries of what is below it count, too."""
    project: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    """Then or later."""
    before: datetime | None = None
    """Earlier."""

    def values(self) -> dict[str, Any]:
        """Return the parameters of the conditions that narrow, by their names."""
        given = {name: getattr(self, name) for name in _CONDITIONS if getattr(self, name) is not None}
        for name in ("since", "before"):
            if name in given:
                given[name] = to_micros(given[name])
        return given


@dataclass(frozen=True, slots=True)
class Ends:
    """Between which marks the chain is."""

    removed: Mark
    """The last entry that was removed since it was old."""
    last: Mark
    """The latest entry."""


class AuditStore:
    """The audit of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entries: Sequence[Entry]) -> None:
        """Add entries. Durable once it returns."""
        if entries:
            await self._database.write(partial(_add, entries=tuple(entries)), vital=False)

    async def list(
        self, where: AuditFilter, *, limit: int, before: int | None = None, after: int | None = None
    ) -> list[Recorded]:
        """Return at most `limit` entries, newest first; with `before` only those with a lower number.

        With `after`, those with a higher number, oldest first.
        """
        return await self._database.search(partial(_list, where=where, limit=limit, before=before, after=after))

    async def ends(self) -> Ends:
        """Return between which marks the chain has to be."""
        return await self._database.read(_ends)

    async def following(self, number: int, *, limit: int) -> tuple[Ends, Sequence[Recorded]]:
        """Return at most `limit` entries after `number`, oldest first, and the ends of the chain at that moment."""
        return await self._database.read(partial(_following, number=number, limit=limit), snapshot=True)

    async def verify(self, noted: Mark | None = None) -> Verified:
        """Walk along the whole chain, which has to have `noted` unless that was removed since it was old."""
        chain = Chain((await self.ends()).removed, noted)
        while True:
            ends, page = await self.following(chain.mark.number, limit=_PAGE)
            if ends.removed.number > chain.mark.number:  # They were removed in between.
                chain.mark = ends.removed
                continue
            broken = await asyncio.to_thread(_check, chain, page)
            if broken is not None or len(page) < _PAGE:
                return Verified(ends.removed, chain.mark, chain.entries, broken or chain.check_end(ends.last))

    async def remove(self, before: datetime, lease: Lease, *, limit: int) -> int:
        """Remove at most `limit` of the oldest entries, from before a time, and return how many that were.

        The digest of the last one stays as the beginning of the chain. Raises LeadershipLost.
        """
        return await self._database.write(partial(_remove, before=before, lease=lease, limit=limit))


async def append(session: Session, entries: Sequence[Entry]) -> None:
    """Write entries at the end of the chain, as the last thing that a transaction does."""
    end = await session.row(_LOCK_END)
    mark = Mark(end["number"], end["digest"])
    rows: list[dict[str, Any]] = []
    for entry in entries:
        each = recorded(entry, mark)
        mark = each.mark
        columns = {name: getattr(entry, name) for name in _OF_ENTRY}
        own = {"number": mark.number, "previous": each.previous, "digest": mark.digest, "outcome": str(entry.outcome)}
        rows.append({**columns, **own})
    await session.chain((_SET_END, {"number": mark.number, "digest": mark.digest}), (_INSERT, {"rows": rows}))


async def _add(session: Session, *, entries: tuple[Entry, ...]) -> None:
    for entry in entries:
        session.record(entry)


def _select(names: frozenset[str], *, oldest_first: bool) -> Statement:
    conditions = [condition for name, condition in _CONDITIONS.items() if name in names]
    conditions += ["number > :after" if oldest_first else "number < :before_number"]
    order = "number" if oldest_first else "number DESC"
    return Statement(f"SELECT {_NAMES} FROM audit WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT :limit")


async def _list(
    session: Session, *, where: AuditFilter, limit: int, before: int | None, after: int | None
) -> list[Recorded]:
    values = where.values()
    statement = _select(frozenset(values), oldest_first=after is not None)
    if where.target is not None:
        values["below"] = f"{where.target.rstrip('/')}/"
    values |= {"limit": limit, "after": after, "before_number": 2**62 if before is None else before}
    return [_recorded(row) for row in await session.rows(statement, values)]


async def _ends(session: Session) -> Ends:
    marks = {row["name"]: Mark(row["number"], row["digest"]) for row in await session.rows(_ENDS)}
    return Ends(removed=marks["removed"], last=marks["last"])


async def _following(session: Session, *, number: int, limit: int) -> tuple[Ends, list[Recorded]]:
    rows = await session.rows(_FOLLOWING, {"after": number, "limit": limit})
    return await _ends(session), [_recorded(row) for row in rows]


async def _remove(session: Session, *, before: datetime, lease: Lease, limit: int) -> int:
    first_kept = (await session.row(_FIRST_KEPT, {"before": to_micros(before)}))["number"]
    for row in await session.rows(_LAST_REMOVED, {"first_kept": first_kept, "limit": limit}):
        mark = {"number": row["number"], "digest": row["digest"]}
        if await session.execute(_NOTE_REMOVED, {**mark, **lease.values()}) == 0:
            await check_leads(session, lease)
        return await session.execute(_REMOVE, {"number": row["number"]})
    return 0


def _check(chain: Chain, page: Sequence[Recorded]) -> Broken | None:
    """Return why an entry does not fit; None if all do."""
    return next((broken for each in page if (broken := chain.check(recorded_on_wire(each))) is not None), None)


def _recorded(row: Row) -> Recorded:
    columns: dict[str, Any] = {name: row[name] for name in _OF_ENTRY}
    entry = Entry(**columns | {"outcome": Outcome(row["outcome"])})
    return Recorded(row["number"], entry, row["previous"], row["digest"])
