"""Keys of submissions: which job each has made, so that a submission that is sent again makes no second one.

Written by the API, in the transaction that stores the job. The leading controller deletes old ones.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ci_common.errors import CiError
from ci_common.times import to_micros, utc_now
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement

_GET = Statement("SELECT digest, job_id FROM submissions WHERE owner = :owner AND key = :key")

# Where another server is storing one with this key, PostgreSQL waits for its commit.
_KEEP = Statement("""
INSERT INTO submissions (owner, key, digest, job_id, time) VALUES (:owner, :key, :digest, :job_id, :time)
ON CONFLICT (owner, key) DO NOTHING
""")
_PRUNE = Statement("""
DELETE FROM submissions WHERE (owner, key) IN (
    SELECT owner, key FROM submissions WHERE time < :before ORDER BY time LIMIT :limit)
""")


@dataclass(frozen=True, slots=True)
class SubmissionKey:
    """The key that a client gave to a submission."""

    owner: str
    key: str
    digest: str
    """The same for the same submission: a SHA-256 of all that it asks for."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What was submitted under a key."""

    digest: str
    job_id: str


class AlreadySubmitted(CiError):
    """A job has been stored under the key in the meantime."""


class SubmissionStore:
    """The keys of one installation's submissions. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, owner: str, key: str) -> Submission | None:
        """Return what this owner has submitted under the key; None for nothing."""
        return await self._database.read(partial(_get, owner=owner, key=key))

    async def prune(self, before: datetime, *, limit: int) -> int:
        """Delete at most `limit` of the oldest keys, of submissions before a time, and return how many that were."""
        return await self._database.write(partial(_prune, before=before, limit=limit))


async def keep_key(session: Session, key: SubmissionKey, job_id: str) -> None:
    """Note that the submission has made the job. Raises AlreadySubmitted where one with the key has."""
    values = {"owner": key.owner, "key": key.key, "digest": key.digest, "job_id": job_id, "time": to_micros(utc_now())}
    if await session.execute(_KEEP, values) == 0:
        raise AlreadySubmitted(f"a job has been stored under the key {key.key!r} already")


async def _get(session: Session, *, owner: str, key: str) -> Submission | None:
    for row in await session.rows(_GET, {"owner": owner, "key": key}):
        return Submission(row["digest"], row["job_id"])
    return None


async def _prune(session: Session, *, before: datetime, limit: int) -> int:
    return await session.execute(_PRUNE, {"before": to_micros(before), "limit": limit})
