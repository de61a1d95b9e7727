"""The outbox: what happened to jobs, one entry for each event, written in the transaction that changes the job.

Events and webhooks read it, each with a cursor of its own. The leading controller deletes old entries.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Final, Self

from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.times import from_micros, to_micros, utc_now
from ci_persistence.database import Command, Database, Session
from ci_persistence.dialects import Statement

_PLACE: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})")

_WRITE = Statement(
    lambda sql: (
        f"""
INSERT INTO outbox (time, event, job_id, attempt, project, owner, conclusion, reason_code)
{sql.one(":time, :event, :job_id, :attempt, :project, :owner, :conclusion, :reason_code")}
"""
    )
)

_READ = Statement(
    lambda sql: (
        f"""
SELECT position, txid, time, event, job_id, attempt, project, owner, conclusion, reason_code FROM outbox
WHERE ({", ".join(sql.commit_order)}) > ({", ".join(f":{column}" for column in sql.commit_order)}) AND {sql.settled}
ORDER BY {", ".join(sql.commit_order)} LIMIT :limit
"""
    )
)

# The oldest of them come first in the index, so nothing else is read.
_PRUNE = Statement(
    lambda sql: (
        f"""
DELETE FROM outbox WHERE time < :before AND position IN (
    SELECT position FROM outbox ORDER BY {", ".join(sql.commit_order)} LIMIT :limit)
"""
    )
)


_LAST = Statement(
    lambda sql: (
        f"""
SELECT position, txid, time FROM outbox WHERE {sql.settled}
ORDER BY {", ".join(f"{column} DESC" for column in sql.commit_order)} LIMIT 1
"""
    )
)

_HAS = Statement("SELECT 1 AS found FROM outbox WHERE position = :position AND txid = :txid AND time = :time")


class Event(StrEnum):
    """What happened to a job."""

    QUEUED = "queued"
    """It was submitted, or queued again for another attempt."""
    STARTING = "starting"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCEL_REQUESTED = "cancel_requested"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the outbox. Entries behind it are greater."""

    txid: int = 0
    position: int = 0

    def __str__(self) -> str:
        return f"{self.txid}.{self.position}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor whose `str()` is `text`. Raises ValueError."""
        txid, position = text.split(".")
        return cls(int(txid), int(position))


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A cursor and the time of its entry, so that it is known again only by the database that has that very entry."""

    cursor: Cursor = field(default_factory=Cursor)
    time: int = 0
    """In microseconds since 1970 UTC."""

    def __str__(self) -> str:
        return f"{self.cursor}.{self.time}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place whose `str()` is `text`. Raises ValueError."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not the id of an event")
        return cls(Cursor(int(match[1]), int(match[2])), int(match[3]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event of the outbox."""

    cursor: Cursor
    time: datetime
    event: Event
    job_id: str
    attempt: int
    project: str | None
    owner: str
    conclusion: Conclusion | None
    """How the job ended; only with COMPLETED."""
    reason_code: ReasonCode | None

    @property
    def place(self) -> Place:
        return Place(self.cursor, to_micros(self.time))


class OutboxStore:
    """The events of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, after: Cursor, *, limit: int) -> list[Entry]:
        """Return at most `limit` entries behind `after`, in the order in which they were committed.

        An entry behind the last one that was returned never appears before it later.
        """
        return await self._database.read(partial(_read, after=after, limit=limit))

    async def last(self) -> Place:
        """Return the place of the last entry; that of none where there are no entries."""
        return await self._database.read(_last)

    async def has(self, place: Place) -> bool:
        """Return whether the entry of a place is here, and so all behind it; also for the place of none, if none is."""
        return await self._database.read(partial(_has, place=place))

    async def prune(self, before: datetime, *, limit: int) -> int:
        """Delete at most `limit` of the oldest entries, of events before a time, and return how many that were."""
        return await self._database.write(partial(_prune, before=before, limit=limit))


def write_event(event: Event, job: Job) -> Command:
    """Return the command that adds an entry; `job` is the job after the change of the same transaction."""
    return _WRITE, {
        "time": to_micros(utc_now()),
        "event": event,
        "job_id": job.id,
        "attempt": job.attempt,
        "project": job.project,
        "owner": job.owner,
        "conclusion": job.conclusion,
        "reason_code": None if job.reason is None else job.reason.code,
    }


EVENT_OF_STATE = {
    State.QUEUED: Event.QUEUED,
    State.STARTING: Event.STARTING,
    State.RUNNING: Event.RUNNING,
    State.COMPLETED: Event.COMPLETED,
}


async def _read(session: Session, *, after: Cursor, limit: int) -> list[Entry]:
    values = {"txid": after.txid, "position": after.position, "limit": limit}
    return [
        Entry(
            cursor=Cursor(row["txid"], row["position"]),
            time=from_micros(row["time"]),
            event=Event(row["event"]),
            job_id=row["job_id"],
            attempt=row["attempt"],
            project=row["project"],
            owner=row["owner"],
            conclusion=None if row["conclusion"] is None else Conclusion(row["conclusion"]),
            reason_code=None if row["reason_code"] is None else ReasonCode(row["reason_code"]),
        )
        for row in await session.rows(_READ, values)
    ]


async def _last(session: Session) -> Place:
    for row in await session.rows(_LAST, {}):
        return Place(Cursor(row["txid"], row["position"]), row["time"])
    return Place()


async def _has(session: Session, *, place: Place) -> bool:
    if place == Place():
        return await _last(session) == place
    values = {"position": place.cursor.position, "txid": place.cursor.txid, "time": place.time}
    return bool(await session.rows(_HAS, values))


async def _prune(session: Session, *, before: datetime, limit: int) -> int:
    return await session.execute(_PRUNE, {"before": to_micros(before), "limit": limit})
