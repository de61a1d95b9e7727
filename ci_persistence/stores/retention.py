"""Deletion: a deleted job leaves a removal until its containers and files are removed as well.

One transaction deletes a completed job and leaves a `Removal`. From then on the job does not exist for any reader. The
leading controller removes containers and files, and then the removal. So a crash in between never leaves files that no
record names.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ci_common.jobs import Conclusion
from ci_common.times import to_micros, utc_now
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Dialect, Statement
from ci_persistence.rows import to_json
from ci_persistence.stores.access.quotas import forget_bytes
from ci_persistence.stores.leases import Lease, check_leads, leads
from ci_persistence.stores.outbox import Event

_DELETED_AT_ONCE = 200
"""How many jobs one transaction deletes; more hold up other writers for longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Which completed jobs `ended` returns; None and empty do not narrow."""

    project: str | None = None
    other_than: frozenset[str] = frozenset()
    """No job of these projects. Jobs that belong to no project are included."""
    conclusions: frozenset[Conclusion] = frozenset()
    with_upload: bool = False
    """Only jobs that came with an upload."""
    since: datetime | None = None
    """Ended then or later."""
    before: datetime | None = None
    """Ended earlier."""
    keep: int = 0
    """Leave out this many of the newest jobs that project, conclusions and upload narrow to, whenever they ended."""

    def values(self) -> dict[str, Any]:
        """Return the parameters of the conditions that narrow, by their names."""
        values = {
            "project": self.project,
            "other_than": to_json(sorted(self.other_than)) if self.other_than else None,
            "conclusions": to_json(sorted(self.conclusions)) if self.conclusions else None,
            "has_upload": 1 if self.with_upload else None,
            "since": None if self.since is None else to_micros(self.since),
            "before": None if self.before is None else to_micros(self.before),
            "keep": self.keep or None,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Removal:
    """A deleted job whose containers or files are not all removed yet."""

    job_id: str
    runtimes: frozenset[str]
    """The runtimes of all its attempts; empty where no attempt had one."""


# Those of some jobs that have completed; they stay as they are until the transaction ends.
_COMPLETED = "SELECT id FROM jobs WHERE id IN {ids} AND state = 'completed'"
_LOCK = Statement(lambda sql: _COMPLETED.format(ids=sql.members("ids")) + sql.update_lock)
_LOCK_AS_LEADER = Statement(
    lambda sql: f"{_COMPLETED.format(ids=sql.members('ids'))} AND {leads(sql.share_lock)}{sql.update_lock}"
)

_RUNTIMES = "SELECT DISTINCT runtime FROM attempts WHERE attempts.job_id = jobs.id AND runtime IS NOT NULL"
_LEAVE_REMOVALS = Statement(
    lambda sql: (
        f"""
INSERT INTO removals (job_id, runtimes) SELECT id, {sql.json_list("runtime", _RUNTIMES)} FROM jobs
WHERE id IN {sql.members("ids")}
"""
    )
)

_WRITE_EVENTS = Statement(
    lambda sql: (
        f"""
INSERT INTO outbox (time, event, job_id, attempt, project, owner, conclusion)
SELECT :time, '{Event.DELETED}', id, attempt, project, owner, conclusion FROM jobs WHERE id IN {sql.members("ids")}
"""
    )
)

_DELETE = Statement(lambda sql: f"DELETE FROM jobs WHERE id IN {sql.members('ids')}")

_LIST_REMOVALS = Statement("SELECT job_id, runtimes FROM removals WHERE job_id > :after ORDER BY job_id LIMIT :limit")
_COUNT_REMOVALS = Statement("SELECT count(*) AS number FROM removals")
_FORGET_REMOVALS = Statement(
    lambda sql: f"DELETE FROM removals WHERE job_id IN {sql.members('ids')} AND {leads(sql.share_lock)}"
)

# Projects with many completed jobs.
_CROWDED_PROJECTS = Statement("""
SELECT project FROM jobs WHERE state = 'completed' AND project IS NOT NULL GROUP BY project HAVING count(*) > :more_than
""")


class RetentionStore:
    """Deletes completed jobs, and keeps track of what is still to be removed. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended(self, where: Ended, *, limit: int) -> list[str]:
        """Return the ids of at most `limit` completed jobs, in the order in which they ended."""
        return await self._database.search(partial(_ended, where=where, limit=limit))

    async def crowded_projects(self, more_than: int) -> list[str]:
        """Return the projects that have more than `more_than` completed jobs."""
        return await self._database.search(partial(_crowded_projects, more_than=more_than))

    async def delete(self, job_ids: Iterable[str], *, lease: Lease | None = None) -> list[str]:
        """Delete those of the jobs that have completed, and return their ids in the same order. Each leaves a removal.

        Durable once it returns. Many jobs are deleted in several short transactions, so that other writers do not wait
        long. With `lease`, deletes only while it leads: raises LeadershipLost otherwise, perhaps after some
        transactions.
        """
        left, deleted = list(dict.fromkeys(job_ids)), []
        while left:
            batch, left = left[:_DELETED_AT_ONCE], left[_DELETED_AT_ONCE:]
            deleted += await self._database.write(partial(delete_jobs, job_ids=batch, lease=lease))
        return deleted

    async def removals(self, *, after: str = "", limit: int) -> list[Removal]:
        """Return at most `limit` removals in the order of their job ids, from behind `after`."""
        return await self._database.read(partial(_removals, after=after, limit=limit))

    async def count_removals(self) -> int:
        """Return how many removals there are."""
        return await self._database.read(_count_removals)

    async def forget_removals(self, job_ids: Iterable[str], lease: Lease) -> None:
        """Delete the removals of jobs of which nothing is left. Raises LeadershipLost where `lease` does not lead."""
        await self._database.write(partial(_forget_removals, job_ids=list(job_ids), lease=lease))


def _list_ended(names: frozenset[str]) -> Statement:
    """Return the statement that lists the completed jobs for which the named conditions hold; `keep` is one, too."""

    def text(sql: Dialect) -> str:
        choices = {
            "project": "project = :project",
            "other_than": f"(project IS NULL OR project NOT IN {sql.members('other_than')})",
            "conclusions": f"conclusion IN {sql.members('conclusions')}",
            "has_upload": "has_upload = :has_upload",
        }
        span = {"since": "end_time >= :since", "before": "end_time < :before"}
        chosen = "".join(f" AND {condition}" for name, condition in choices.items() if name in names)
        spanned = "".join(f" AND {condition}" for name, condition in span.items() if name in names)
        # The job is not among the newest. Where there are no others, this compares with NULL.
        kept = f""" AND (end_time, id) <= (
            SELECT end_time, id FROM jobs WHERE state = 'completed'{chosen}
            ORDER BY end_time DESC, id DESC LIMIT 1 OFFSET :keep)"""
        return f"""
        SELECT id FROM jobs WHERE state = 'completed'{chosen}{spanned}{kept if "keep" in names else ""}
        ORDER BY end_time, id LIMIT :limit"""

    return Statement(text)


async def _ended(session: Session, *, where: Ended, limit: int) -> list[str]:
    values = where.values()
    return [row["id"] for row in await session.rows(_list_ended(frozenset(values)), values | {"limit": limit})]


async def _crowded_projects(session: Session, *, more_than: int) -> list[str]:
    return [row["project"] for row in await session.rows(_CROWDED_PROJECTS, {"more_than": more_than})]


async def delete_jobs(session: Session, *, job_ids: list[str], lease: Lease | None = None) -> list[str]:
    """Delete those of the jobs that have completed, in one transaction, and return their ids in the same order."""
    values = {"ids": to_json(job_ids)}
    if lease is None:
        rows = await session.rows(_LOCK, values)
    else:
        rows = await session.rows(_LOCK_AS_LEADER, values | lease.values())
        if not rows:
            await check_leads(session, lease)
    deleted = sorted((row["id"] for row in rows), key=job_ids.index)
    if deleted:
        values = {"ids": to_json(deleted)}
        await session.execute(_LEAVE_REMOVALS, values)
        await session.execute(_WRITE_EVENTS, values | {"time": to_micros(utc_now())})
        await forget_bytes(session, deleted)
        await session.execute(_DELETE, values)
        session.notify()
    return deleted


async def _removals(session: Session, *, after: str, limit: int) -> list[Removal]:
    rows = await session.rows(_LIST_REMOVALS, {"after": after, "limit": limit})
    return [Removal(row["job_id"], frozenset(json.loads(row["runtimes"]))) for row in rows]


async def _count_removals(session: Session) -> int:
    return int((await session.row(_COUNT_REMOVALS))["number"])


async def _forget_removals(session: Session, *, job_ids: list[str], lease: Lease) -> None:
    if await session.execute(_FORGET_REMOVALS, {"ids": to_json(job_ids), **lease.values()}) == 0:
        await check_leads(session, lease)
