"""The records of attempts that have ended: written with the end of the attempt, read by the API."""

from dataclasses import dataclass
from functools import partial

from ci_common.jobs import Job
from ci_common.wire.results.record import sealed
from ci_persistence.database import Command, Database, Session
from ci_persistence.dialects import Statement

_WRITE = Statement(
    lambda sql: (
        f"""
INSERT INTO records (job_id, attempt, document, sha256)
{sql.one(":job_id, :attempt, :document, :sha256")}
ON CONFLICT (job_id, attempt) DO NOTHING
"""
    )
)
_GET = Statement("SELECT document, sha256 FROM records WHERE job_id = :job_id AND attempt = :attempt")


@dataclass(frozen=True, slots=True)
class Record:
    """The record of an attempt, as it was written when the attempt ended."""

    document: str
    """Canonical JSON; docs/record.md says what stands in it."""
    sha256: str
    """Hexadecimal, of the document in UTF-8."""


class RecordStore:
    """The records of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, job_id: str, attempt: int) -> Record | None:
        """Return the record of an attempt; None while it has not ended."""
        return await self._database.read(partial(_get, job_id=job_id, attempt=attempt))


def write_record(ended: Job) -> Command:
    """Return what writes the record of an attempt; `ended` is the job as of that attempt."""
    document, sha256 = sealed(ended)
    values = {"job_id": ended.id, "attempt": ended.attempt, "document": document, "sha256": sha256}
    return _WRITE, values


async def _get(session: Session, *, job_id: str, attempt: int) -> Record | None:
    for row in await session.rows(_GET, {"job_id": job_id, "attempt": attempt}):
        return Record(row["document"], row["sha256"])
    return None
