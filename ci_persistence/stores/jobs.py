"""Jobs: submitted and cancelled by the API, moved on by the controller, read by both."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ci_common.errors import JobAlreadyCompleted, JobNotFound, QueueFull, StaleWrite
from ci_common.jobs import Job, NewJob, State
from ci_common.parsing.large import is_large
from ci_common.quotas import Ceiling, Quota
from ci_common.times import from_micros, to_micros
from ci_persistence import rows
from ci_persistence.database import Chain, Database, Operation, Row, Session
from ci_persistence.decoding import select_jobs, to_job
from ci_persistence.dialects import Statement
from ci_persistence.job_lists import JobFilter, list_jobs
from ci_persistence.rows import CONTROLLER_FIELDS, to_json
from ci_persistence.stores.access.quotas import check_quotas, count_bytes
from ci_persistence.stores.groups import replace_others
from ci_persistence.stores.job_changes import changes_of_job, compare_and_set
from ci_persistence.stores.leases import Lease, check_leads
from ci_persistence.stores.metrics import ONE_SUBMITTED
from ci_persistence.stores.outbox import Event, write_event
from ci_persistence.stores.submissions import SubmissionKey, keep_key


def _names(columns: Iterable[str]) -> str:
    return ", ".join(columns)


def _parameters(columns: Iterable[str]) -> str:
    return ", ".join(f":{column}" for column in columns)


_NEW_COLUMNS = (
    *("id", "type", "submit_time", "owner", "priority", "project", "labels", "payload", "plan", "image", "has_upload"),
    *("upload_bytes", "max_attempts", "retry_of", "concurrency_group", "cancel_running", "client", "arrival"),
    *("reason_code", "reason_message"),
)
_GET = Statement(lambda sql: f"{select_jobs(sql)} WHERE jobs.id = :id")
_GET_MANY = Statement(lambda sql: f"{select_jobs(sql)} WHERE jobs.id IN {sql.members('ids')}")

# One more queued job, if the queue is not full; other servers' submissions wait for the commit.
_JOIN_QUEUE = Statement(
    lambda sql: f"UPDATE queue SET length = length + 1 WHERE length < :max_queued{sql.returning_changed}"
)
_INSERT = Statement(lambda sql: f"INSERT INTO jobs ({_names(_NEW_COLUMNS)}) {sql.one(_parameters(_NEW_COLUMNS))}")

# The API's one later write to a job: the first request stands, and a completed job takes none.
_REQUEST_CANCEL = Statement("""
UPDATE jobs SET cancel_requested_time = :now
WHERE id = :id AND cancel_requested_time IS NULL AND state <> 'completed'
""")


class JobStore:
    """The jobs of one installation. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, job_id: str) -> Job:
        """Return the job. Raises JobNotFound."""
        return await self._database.read(partial(_get, job_id=job_id))

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return those of the jobs that exist, by id."""
        return await self._database.read(partial(read_jobs, job_ids=list(job_ids)))

    async def list_jobs(self, where: JobFilter, *, limit: int, older_than: str | None = None) -> list[Job]:
        """Return at most `limit` jobs, newest first; with `older_than` only those whose id sorts before it."""
        return await self._database.search(partial(list_jobs, where=where, limit=limit, older_than=older_than))

    def changes(self, on_row: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        """Yield soon after every commit, as `Database.changes`; `on_row` gets the jobs that were written here."""
        return self._database.changes(on_row)

    async def add(
        self, job: NewJob, *, max_queued: int, key: SubmissionKey | None = None, ceilings: Sequence[Ceiling] = ()
    ) -> Job:
        """Store a new job in state QUEUED with reason `waiting_for_controller`, and return it.

        Its `arrival` gets the milestone `persisting`.

        If it has `cancel_running`, the others of its concurrency group get a cancel request in the same transaction.

        Durable once it returns, together with `key`. Raises QueueFull where `max_queued` jobs are queued already,
        QuotaExceeded where the job is too much for one of the ceilings, and AlreadySubmitted where the key has a job. A
        cancelled caller learns the outcome: CancelledError means that the job is not stored and never will be.
        """
        first = rows.first_version(job)
        # To write the JSON of a large job takes milliseconds.
        if is_large([job.payload, job.plan]):
            adding = await asyncio.to_thread(_adding, first, max_queued)
        else:
            adding = _adding(first, max_queued)
        operation: Operation[Job] = adding
        if key is not None or job.cancel_running or ceilings:
            operation = partial(_add_after, adding=adding, job=first, key=key, ceilings=ceilings)
        return await self._database.write(operation, certain=True, vital=False)

    async def request_cancel(self, job_id: str, now: datetime) -> Job:
        """Stamp the time of the first request, and return the job; a later request changes nothing.

        Raises JobNotFound, JobAlreadyCompleted.
        """
        return await self._database.write(partial(_request_cancel, job_id=job_id, now=now))

    async def update(self, job: Job, lease: Lease, *, ceilings: Sequence[Ceiling] = (), **changes: Any) -> Job:
        """Write `changes` (fields of `Job`) if the row still has `job.version` and `lease` still leads.

        The one compare-and-set function. Returns the job as it now is, with a higher version and with a cancel request
        that was made since `job` was read. Raises StaleWrite where the row has another version, LeadershipLost where
        `lease` does not lead, JobNotFound, and ValueError for a transition that `TRANSITIONS` does not have or a field
        the controller does not own. With `ceilings`, raises QuotaExceeded where the change uses more than one of them.
        """
        if foreign := changes.keys() - CONTROLLER_FIELDS:
            raise ValueError(f"the controller may not write these fields: {', '.join(sorted(foreign))}")
        updating = _updating(job, lease, changes)
        return await self._database.write(
            partial(_within, change=updating, ceilings=ceilings) if ceilings else updating
        )


async def read_jobs(session: Session, job_ids: list[str]) -> dict[str, Job]:
    """Return those of the jobs that exist, by id."""
    if not job_ids:
        return {}
    rows = await session.rows(_GET_MANY, {"ids": to_json(job_ids)})
    return {job.id: job for job in await session.decoded(to_job, rows)}


async def _get(session: Session, *, job_id: str) -> Job:
    for job in await session.decoded(to_job, await session.rows(_GET, {"id": job_id})):
        return job
    raise JobNotFound(f"there is no job {job_id}")


def _adding(job: Job, max_queued: int) -> Chain[Job]:
    async def added(session: Session, changed: list[Row]) -> Job:
        if not changed:
            raise QueueFull.beyond(max_queued)
        session.notify()
        return job

    commands = (
        (_JOIN_QUEUE, {"max_queued": max_queued}),
        (_INSERT, rows.new_row(job)),
        *count_bytes(job.project, job.owner, job.upload_bytes),
        ONE_SUBMITTED,
        write_event(Event.QUEUED, job),
    )
    return Chain(commands, added)


async def _add_after(
    session: Session, *, adding: Chain[Job], job: Job, key: SubmissionKey | None, ceilings: Sequence[Ceiling]
) -> Job:
    """Do first what goes with the submission, and then store its job."""
    # Most refusals are found here, where nothing is to be rolled back.
    await check_quotas(session, ceilings, {Quota.QUEUED: 1, Quota.STORED: job.upload_bytes})
    if key is not None:
        await keep_key(session, key, job.id)
    if job.cancel_running:
        await replace_others(session, job)
    return await _within(session, change=adding, ceilings=ceilings)


async def _within(session: Session, *, change: Chain[Job], ceilings: Sequence[Ceiling]) -> Job:
    """Make the change. Raises QuotaExceeded, to have it undone, if more is used then than the ceilings allow."""
    job = await change(session)
    await check_quotas(session, ceilings)
    return job


async def _request_cancel(session: Session, *, job_id: str, now: datetime) -> Job:
    is_first = await session.execute(_REQUEST_CANCEL, {"id": job_id, "now": to_micros(now)}) > 0
    job = await _get(session, job_id=job_id)
    if is_first:
        await session.execute(*write_event(Event.CANCEL_REQUESTED, job))
        session.notify()
    elif job.state is State.COMPLETED:
        raise JobAlreadyCompleted(f"job {job_id} has completed already ({job.conclusion}), so it cannot be cancelled")
    return job


def _updating(seen: Job, lease: Lease, changes: dict[str, Any]) -> Chain[Job]:
    changed = seen.with_changes(**changes, version=seen.version + 1)

    async def updated(session: Session, found: list[Row]) -> Job:
        if not found:
            await check_leads(session, lease)
            stored = await _get(session, job_id=seen.id)
            raise StaleWrite(f"job {seen.id} now has version {stored.version}, not {seen.version}")
        if changed.state != seen.state:
            session.notify()
        micros, replaced_by = found[0]["cancel_requested_time"], found[0]["replaced_by"]
        cancelled = None if micros is None else from_micros(micros)
        if (cancelled, replaced_by) == (seen.cancel_requested_time, seen.replaced_by):
            return changed  # As almost always; a copy of a job costs more than most statements.
        return changed.with_changes(cancel_requested_time=cancelled, replaced_by=replaced_by)

    return Chain((compare_and_set(seen, changed, lease), *changes_of_job(seen, changed)), updated)
