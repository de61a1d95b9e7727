"""What projects and owners use of their quotas.

Jobs are counted where a quota limits them. Bytes are kept as sums, which change in the transactions that change jobs. A
check is exact in a transaction for which everyone else who uses more has to wait: submissions change the row of the
queue before it, and only the leader starts jobs. Uploads and streams are counted in `places`.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from ci_common.attempts.parts import JobArtifacts
from ci_common.jobs import Job
from ci_common.quotas import Ceiling, Kind, Quota, QuotaExceeded, Usage
from ci_persistence.database import Command, Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json

NOTHING_MORE: Mapping[Quota, int] = {}

# `state <> 'completed'` lets the planner use the indexes of unfinished jobs.
_STATES = {Quota.QUEUED: "state = 'queued'", Quota.RUNNING: "state IN ('starting', 'running')"}
_USED = (
    {
        (kind, quota): Statement(
            f"SELECT count(*) AS used FROM jobs WHERE state <> 'completed' AND {state} AND {kind} = :name"
        )
        for kind in ("project", "owner")
        for quota, state in _STATES.items()
    }
    | {
        (kind, Quota.STORED): Statement(
            f"""
SELECT coalesce((SELECT bytes FROM stored_bytes WHERE kind = '{kind}' AND name = :name), 0)
    + coalesce((SELECT sum(size) FROM caches WHERE {kind} = :name), 0) AS used
"""
        )
        for kind in ("project", "owner")
    }
    | {
        (kind, quota): Statement(
            "SELECT coalesce(sum(number), 0) AS used FROM places "
            f"WHERE quota = '{quota}' AND kind = '{kind}' AND name = :name"
        )
        for kind in ("project", "owner")
        for quota in (Quota.UPLOADS, Quota.STREAMS)
    }
)
_STORE = Statement(
    lambda sql: (
        f"""
INSERT INTO stored_bytes (kind, name, bytes)
SELECT kind, name, bytes FROM {sql.records("changes", kind="text", name="text", bytes="bigint")} WHERE {sql.given}
ON CONFLICT (kind, name) DO UPDATE SET bytes = stored_bytes.bytes + excluded.bytes
"""
    )
)
# What `bytes_of` returns, of jobs whose rows are locked.
_OF_JOBS = Statement(
    lambda sql: (
        f"""
SELECT project, owner, upload_bytes
    + coalesce((SELECT sum(log_bytes) FROM attempts WHERE attempts.job_id = jobs.id), 0)
    + coalesce((SELECT sum(size) FROM artifacts WHERE artifacts.job_id = jobs.id AND removed = 0), 0) AS bytes
FROM jobs WHERE id IN {sql.members("ids")}
"""
    )
)


class QuotaStore:
    """What is used of quotas. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def used(self, kind: Kind, name: str, quotas: Iterable[Quota] = tuple(Quota)) -> Usage:
        """Return what a project or an owner uses of these quotas."""
        return await self._database.read(partial(_all_used, kind=kind, name=name, quotas=tuple(quotas)))

    async def check(self, ceilings: Iterable[Ceiling], more: Mapping[Quota, int] = NOTHING_MORE) -> None:
        """Raise QuotaExceeded if `more` than what is used is over a ceiling. It is so at this moment only."""
        if ceilings := tuple(ceilings):
            await self._database.read(partial(check_quotas, ceilings=ceilings, more=more))


async def check_quotas(session: Session, ceilings: Iterable[Ceiling], more: Mapping[Quota, int] = NOTHING_MORE) -> None:
    """Raise QuotaExceeded if `more` than what is used is over one of the ceilings."""
    for ceiling in ceilings:
        used = await _used(session, ceiling.kind, ceiling.name, ceiling.quota)
        if used + more.get(ceiling.quota, 0) > ceiling.limit:
            raise QuotaExceeded(ceiling, used)


def count_bytes(project: str | None, owner: str, change: int) -> Iterator[Command]:
    """Yield what counts bytes that a job has more, or less."""
    if change:
        yield _stored(_changes([(project, owner, change)]))


def bytes_of(job: Job) -> int:
    """Return the bytes of a job's upload, logs and artifacts, as far as its row tells."""
    attempts = sum(_of_attempt(attempt.log_bytes, attempt.artifacts) for attempt in job.earlier_attempts)
    return job.upload_bytes + attempts + _of_attempt(job.log_bytes, job.artifacts)


async def forget_bytes(session: Session, job_ids: list[str]) -> None:
    """Count what jobs have that are about to be deleted as gone. Their rows have to be locked."""
    rows = await session.rows(_OF_JOBS, {"ids": to_json(job_ids)})
    await subtract_bytes(session, [(row["project"], row["owner"], int(row["bytes"])) for row in rows])


async def subtract_bytes(session: Session, gone: Iterable[tuple[str | None, str, int]]) -> None:
    """Count bytes of these projects and owners as gone."""
    if changes := _changes([(project, owner, -size) for project, owner, size in gone if size]):
        await session.execute(*_stored(changes))


def _of_attempt(log_bytes: int | None, artifacts: JobArtifacts | None) -> int:
    return (log_bytes or 0) + (artifacts.bytes if artifacts is not None else 0)


def _changes(found: Iterable[tuple[str | None, str, int]]) -> dict[tuple[str, str], int]:
    changes: dict[tuple[str, str], int] = {}
    for project, owner, size in found:
        for kind, name in (("project", project), ("owner", owner)):
            if name is not None:
                changes[kind, name] = changes.get((kind, name), 0) + size
    return changes


def _stored(changes: dict[tuple[str, str], int]) -> Command:
    # In one order, so that no two transactions wait for each other.
    rows = [{"kind": kind, "name": name, "bytes": size} for (kind, name), size in sorted(changes.items())]
    return _STORE, {"changes": to_json(rows)}


async def _used(session: Session, kind: Kind, name: str, quota: Quota) -> int:
    return int((await session.row(_USED[kind, quota], {"name": name}))["used"])


async def _all_used(session: Session, *, kind: Kind, name: str, quotas: tuple[Quota, ...]) -> Usage:
    return {quota: await _used(session, kind, name, quota) for quota in quotas}
