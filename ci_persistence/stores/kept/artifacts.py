"""Artifacts: the controller writes their rows with the end of their attempt, and notes what has expired."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial

from ci_common.attempts.parts import Artifact, JobArtifacts
from ci_common.times import to_micros
from ci_persistence.database import Command, Database, Session
from ci_persistence.decoding import OF_ARTIFACTS, to_artifact
from ci_persistence.dialects import Statement
from ci_persistence.rows import artifact_row, to_json
from ci_persistence.stores.access.quotas import subtract_bytes
from ci_persistence.stores.leases import Lease, check_leads, leads

_COLUMNS = {
    "position": "integer",
    "path": "text",
    "size": "bigint",
    "sha256": "text",
    "content_type": "text",
    "key": "text",
    "name": "text",
    "expires": "bigint",
    "removed": "integer",
}
_NAMES = ", ".join(_COLUMNS)
_OF_AN_ATTEMPT = (
    f"SELECT {', '.join(OF_ARTIFACTS)} FROM artifacts WHERE artifacts.job_id = :job_id AND attempt = :attempt"
)

_LIST = Statement(f"{_OF_AN_ATTEMPT} ORDER BY position")
_GET = Statement(f"{_OF_AN_ATTEMPT} AND path = :path")
_EXPIRED = Statement(
    "SELECT key FROM artifacts WHERE removed = 0 AND expires IS NOT NULL AND expires <= :now"
    " ORDER BY expires, key LIMIT :limit"
)
_NOTE_REMOVED = Statement(
    lambda sql: (
        "UPDATE artifacts SET removed = 1 WHERE removed = 0 AND expires IS NOT NULL AND expires <= :now"
        f" AND key IN {sql.members('keys')} AND {leads(sql.share_lock)} RETURNING job_id, size"
    )
)
_JOBS_OF = Statement(
    lambda sql: (
        "SELECT id, project, owner FROM jobs"
        f" WHERE id IN (SELECT job_id FROM artifacts WHERE key IN {sql.members('keys')}) ORDER BY id{sql.share_lock}"
    )
)
_WRITE = Statement(
    lambda sql: (
        f"""
INSERT INTO artifacts (job_id, attempt, {_NAMES})
SELECT :job_id, :attempt, {_NAMES} FROM {sql.records("artifacts", **_COLUMNS)} WHERE {sql.given}
"""
    )
)


class ArtifactStore:
    """The artifacts of one installation, without their contents. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all_of(self, job_id: str, attempt: int) -> list[Artifact]:
        """Return all artifacts of an attempt, in the order of their paths; also those that have expired."""
        return await self._database.search(partial(_list, job_id=job_id, attempt=attempt))

    async def get(self, job_id: str, attempt: int, path: str) -> Artifact | None:
        """Return the artifact with this path, or None if there is none; also one that has expired."""
        return await self._database.read(partial(_get, job_id=job_id, attempt=attempt, path=path))

    async def expired(self, now: datetime, *, limit: int) -> list[str]:
        """Return the keys of at most `limit` artifacts that have expired and whose removal is not noted."""
        return await self._database.search(partial(_expired, now=now, limit=limit))

    async def note_removed(self, keys: Iterable[str], now: datetime, lease: Lease) -> None:
        """Note that the contents with these keys, which have expired, are gone. Raises LeadershipLost."""
        await self._database.write(partial(_note_removed, keys=list(keys), now=now, lease=lease))


def write_artifacts(
    job_id: str, attempt: int, before: JobArtifacts | None, after: JobArtifacts | None
) -> Iterator[Command]:
    """Yield what writes the artifacts of an attempt that ends; they never change after that."""
    if before is None and after is not None and after.files:
        rows = [artifact_row(position, artifact) for position, artifact in enumerate(after.files)]
        yield _WRITE, {"job_id": job_id, "attempt": attempt, "artifacts": to_json(rows)}


async def _list(session: Session, *, job_id: str, attempt: int) -> list[Artifact]:
    return [to_artifact(row) for row in await session.rows(_LIST, {"job_id": job_id, "attempt": attempt})]


async def _get(session: Session, *, job_id: str, attempt: int, path: str) -> Artifact | None:
    rows = await session.rows(_GET, {"job_id": job_id, "attempt": attempt, "path": path})
    return next((to_artifact(row) for row in rows), None)


async def _expired(session: Session, *, now: datetime, limit: int) -> list[str]:
    rows = await session.rows(_EXPIRED, {"now": to_micros(now), "limit": limit})
    return [row["key"] for row in rows]


async def _note_removed(session: Session, *, keys: list[str], now: datetime, lease: Lease) -> None:
    values = lease.values() | {"keys": to_json(keys), "now": to_micros(now)}
    # A deletion of such a job waits, since it counts the artifacts that are left.
    jobs = {row["id"]: row for row in await session.rows(_JOBS_OF, {"keys": to_json(keys)})}
    removed = await session.rows(_NOTE_REMOVED, values)
    if not removed:
        await check_leads(session, lease)
    known = [(jobs[row["job_id"]], int(row["size"])) for row in removed if row["job_id"] in jobs]
    await subtract_bytes(session, [(job["project"], job["owner"], size) for job, size in known])
