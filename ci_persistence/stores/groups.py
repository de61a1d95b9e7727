"""Concurrency groups: the newest job cancels the others of its group, in the transaction that stores it.

That only one job of a group holds a slot is kept by a unique index, `jobs_one_of_group`.
"""

from ci_common.jobs import Job
from ci_common.times import to_micros
from ci_persistence.database import Session
from ci_persistence.decoding import select_jobs, to_job
from ci_persistence.dialects import Statement
from ci_persistence.stores.outbox import Event, write_event

# Others that store jobs of the same group wait until this transaction ends, and then see what it has stored. It comes
# before any lock of a row, so that no two transactions wait for each other.
_LOCK_GROUP = Statement(lambda sql: sql.lock_text("lock"))

_UNFINISHED = """
jobs.state <> 'completed' AND jobs.concurrency_group = :concurrency_group
AND coalesce('project ' || jobs.project, 'owner ' || jobs.owner) = :share
"""
_REPLACE = Statement(f"""
UPDATE jobs SET cancel_requested_time = :now, replaced_by = :id
WHERE {_UNFINISHED} AND jobs.cancel_requested_time IS NULL
""")
_REPLACED = Statement(lambda sql: f"{select_jobs(sql)} WHERE {_UNFINISHED} AND jobs.replaced_by = :id")


async def replace_others(session: Session, job: Job) -> None:
    """Request the cancellation of all unfinished jobs in the group of a job that is about to be stored."""
    share = f"owner {job.owner}" if job.project is None else f"project {job.project}"
    group = {"concurrency_group": job.concurrency_group, "share": share}
    await session.rows(_LOCK_GROUP, {"lock": f"{share} {job.concurrency_group}"})
    if not await session.execute(_REPLACE, group | {"id": job.id, "now": to_micros(job.submit_time)}):
        return
    replaced = await session.rows(_REPLACED, group | {"id": job.id})
    for other in await session.decoded(to_job, replaced):
        await session.execute(*write_event(Event.CANCEL_REQUESTED, other))
