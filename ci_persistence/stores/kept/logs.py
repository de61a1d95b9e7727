"""Logs of ended attempts that are in the artifact store: noted by the controller, read by the API."""

from dataclasses import dataclass
from functools import partial

from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.stores.leases import Lease, check_leads, leads

_FIND = Statement("SELECT bytes, times_bytes FROM stored_logs WHERE job_id = :job_id AND attempt = :attempt")

# The row of the attempt is read, too: the job may have been deleted while its log was sent.
_NOTE = Statement(
    lambda sql: (
        f"""
INSERT INTO stored_logs (job_id, attempt, bytes, times_bytes)
SELECT job_id, number, CAST(:bytes AS bigint), CAST(:times_bytes AS bigint) FROM attempts
WHERE job_id = :job_id AND number = :attempt AND conclusion IS NOT NULL AND {leads(sql.share_lock)}
ON CONFLICT (job_id, attempt) DO NOTHING
"""
    )
)


@dataclass(frozen=True, slots=True)
class StoredLog:
    """A log that the artifact store has as a whole."""

    bytes: int
    times_bytes: int
    """How long the index of its times is there; 0 if there is none."""


class LogStore:
    """The logs of one installation that are in the artifact store. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, job_id: str, attempt: int) -> StoredLog | None:
        """Return what is noted of the log of an attempt; None if nothing is."""
        return await self._database.read(partial(_find, job_id=job_id, attempt=attempt))

    async def note(self, job_id: str, attempt: int, stored: StoredLog, lease: Lease) -> None:
        """Note that the store has the log of an attempt that has ended; what is noted already stays.

        Notes nothing if the job is gone. Raises LeadershipLost.
        """
        await self._database.write(partial(_note, job_id=job_id, attempt=attempt, stored=stored, lease=lease))


async def _find(session: Session, *, job_id: str, attempt: int) -> StoredLog | None:
    for row in await session.rows(_FIND, {"job_id": job_id, "attempt": attempt}):
        return StoredLog(row["bytes"], row["times_bytes"])
    return None


async def _note(session: Session, *, job_id: str, attempt: int, stored: StoredLog, lease: Lease) -> None:
    values = {"job_id": job_id, "attempt": attempt, "bytes": stored.bytes, "times_bytes": stored.times_bytes}
    if await session.execute(_NOTE, lease.values() | values) == 0:
        await check_leads(session, lease)
