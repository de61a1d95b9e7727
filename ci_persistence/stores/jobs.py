"""Jobs: submitted and cancelled by the API, moved on by the controller, read by both."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ci_common.attempts.parts import StepResult
from ci_common.errors import JobAlreadyCompleted, JobNotFound, QueueFull, StaleWrite
from ci_common.jobs import Job, NewJob, State
from ci_common.parsing.large import is_large
from ci_common.quotas import Ceiling, Quota
from ci_common.times import from_micros, to_micros
from ci_persistence import rows
from ci_persistence.database import Chain, Command, Database, Operation, Row, Session
from ci_persistence.decoding import select_jobs, to_job
from ci_persistence.dialects import Statement
from ci_persistence.job_lists import JobFilter, list_jobs
from ci_persistence.rows import CONTROLLER_FIELDS, to_json
from ci_persistence.stores.access.quotas import bytes_of, check_quotas, count_bytes
from ci_persistence.stores.artifacts import write_artifacts
from ci_persistence.stores.groups import replace_others
from ci_persistence.stores.leases import Lease, check_leads, leads
from ci_persistence.stores.metrics import count, count_stages, count_transition
from ci_persistence.stores.outbox import EVENT_OF_STATE, Event, write_event
from ci_persistence.stores.records import write_record
from ci_persistence.stores.submissions import SubmissionKey, keep_key


def _names(columns: Iterable[str]) -> str:
    return ", ".join(columns)


def _parameters(columns: Iterable[str]) -> str:
    return ", ".join(f":{column}" for column in columns)


def _assignments(columns: Iterable[str]) -> str:
    return ", ".join(f"{column} = :{column}" for column in columns)


_NEW_COLUMNS = (
    *("id", "type", "submit_time", "owner", "priority", "project", "labels", "payload", "plan", "image", "has_upload"),
    *("upload_bytes", "max_attempts", "retry_of", "concurrency_group", "cancel_running", "client", "arrival"),
    *("reason_code", "reason_message"),
)
_CONTROLLER_COLUMNS = (
    *("state", "attempt", "reason_code", "reason_message", "not_before", "end_time", "stop_code", "conclusion"),
    *("result", "error"),
)
_ATTEMPT_COLUMNS = (
    *("runtime", "start_way", "start_time", "start_boot", "start_uptime", "trace", "end_time", "conclusion"),
    *("reason_code", "reason_message", "exit_code", "log_bytes", "log_sha256", "environment", "caches"),
    *("artifacts", "results", "resources", "used_image", "tests"),
)

_GET = Statement(lambda sql: f"{select_jobs(sql)} WHERE jobs.id = :id")
_GET_MANY = Statement(lambda sql: f"{select_jobs(sql)} WHERE jobs.id IN {sql.members('ids')}")

# One more queued job, if the queue is not full; other servers' submissions wait for the commit.
_JOIN_QUEUE = Statement("UPDATE queue SET length = length + 1 WHERE length < :max_queued RETURNING length")
_CHANGE_QUEUE = Statement(lambda sql: f"UPDATE queue SET length = length + :by WHERE {sql.given}")

_INSERT = Statement(
    lambda sql: f"INSERT INTO jobs ({_names(_NEW_COLUMNS)}) SELECT {_parameters(_NEW_COLUMNS)} WHERE {sql.given}"
)

# The API's one later write to a job: the first request stands, and a completed job takes none.
_REQUEST_CANCEL = Statement("""
UPDATE jobs SET cancel_requested_time = :now
WHERE id = :id AND cancel_requested_time IS NULL AND state <> 'completed'
""")

# All of the controller's columns, if the lease leads and the row still has version :version.
_UPDATE = Statement(
    lambda sql: (
        f"""
UPDATE jobs SET version = version + 1, {_assignments(_CONTROLLER_COLUMNS)}
WHERE id = :id AND version = :version AND {leads(sql.share_lock)}
RETURNING cancel_requested_time, replaced_by
"""
    )
)

_SET_ATTEMPT = Statement(
    lambda sql: (
        f"""
INSERT INTO attempts (job_id, number, {_names(_ATTEMPT_COLUMNS)})
SELECT :job_id, :number, {_parameters(_ATTEMPT_COLUMNS)} WHERE {sql.given}
ON CONFLICT (job_id, number) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _ATTEMPT_COLUMNS)}
"""
    )
)

_STEP_COLUMNS = {
    "position": "integer",
    "name": "text",
    "status": "text",
    "start_time": "bigint",
    "end_time": "bigint",
    "exit_code": "integer",
    "log_offset": "bigint",
    "reason": "text",
}
_SET_STEPS = Statement(
    lambda sql: (
        f"""
INSERT INTO steps (job_id, attempt, {_names(_STEP_COLUMNS)})
SELECT :job_id, :attempt, {_names(_STEP_COLUMNS)} FROM {sql.records("steps", **_STEP_COLUMNS)} WHERE {sql.given}
ON CONFLICT (job_id, attempt, position) DO UPDATE SET
{", ".join(f"{name} = excluded.{name}" for name in _STEP_COLUMNS if name != "position")}
"""
    )
)
_CUT_STEPS = Statement(
    lambda sql: (
        "DELETE FROM steps WHERE job_id = :job_id AND attempt = :attempt AND position >= :length AND " + sql.given
    )
)


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
    return {row["id"]: to_job(row) for row in await session.rows(_GET_MANY, {"ids": to_json(job_ids)})}


async def _get(session: Session, *, job_id: str) -> Job:
    for row in await session.rows(_GET, {"id": job_id}):
        return to_job(row)
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
        count({"submitted": 1}),
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
    changed = seen.with_changes(**changes)
    key = {"id": seen.id, "version": seen.version, **lease.values()}

    async def updated(session: Session, found: list[Row]) -> Job:
        if not found:
            await check_leads(session, lease)
            stored = await _get(session, job_id=seen.id)
            raise StaleWrite(f"job {seen.id} now has version {stored.version}, not {seen.version}")
        if changed.state != seen.state:
            session.notify()
        cancelled = found[0]["cancel_requested_time"]
        return changed.with_changes(
            version=seen.version + 1,
            cancel_requested_time=None if cancelled is None else from_micros(cancelled),
            replaced_by=found[0]["replaced_by"],
        )

    update = _UPDATE, rows.controller_columns(changed) | key
    stored = count_bytes(changed.project, changed.owner, bytes_of(changed) - bytes_of(seen))
    return Chain((update, *_write_attempts(seen, changed), *_write_transition(seen, changed), *stored), updated)


def _write_transition(seen: Job, changed: Job) -> Iterator[Command]:
    """Yield what counts and reports a change of the job's state."""
    if changed.state != seen.state:
        if difference := (changed.state is State.QUEUED) - (seen.state is State.QUEUED):
            yield _CHANGE_QUEUE, {"by": difference}
        yield from count_transition(changed)
        yield write_event(EVENT_OF_STATE[changed.state], changed)
    if changed.state is State.COMPLETED:
        yield from count_stages(seen, changed)


def _write_attempts(seen: Job, changed: Job) -> Iterator[Command]:
    """Yield what writes the changes of the job's attempts and their steps."""
    is_next = changed.attempt != seen.attempt
    for attempt in changed.earlier_attempts[len(seen.earlier_attempts) :]:
        yield _SET_ATTEMPT, rows.ended_attempt_columns(seen, attempt)
        yield from _write_steps(seen, attempt.number, seen.steps, attempt.steps)
        yield from write_artifacts(seen.id, attempt.number, seen.artifacts, attempt.artifacts)
        yield write_record(changed.as_of(attempt.number))
    columns = rows.attempt_columns(changed)
    before = rows.attempt_columns(_blank(changed) if is_next else seen)
    steps_before = () if is_next else seen.steps
    if columns != before or (changed.steps and not steps_before):
        yield _SET_ATTEMPT, columns
    yield from _write_steps(changed, changed.attempt, steps_before, changed.steps)
    yield from write_artifacts(changed.id, changed.attempt, None if is_next else seen.artifacts, changed.artifacts)
    if changed.state is State.COMPLETED and seen.state is not State.COMPLETED:
        yield write_record(changed)


def _blank(job: Job) -> Job:
    """Return the job with a current attempt of which nothing is known."""
    return Job(id=job.id, type=job.type, submit_time=job.submit_time, attempt=job.attempt)


def _write_steps(
    job: Job, attempt: int, before: tuple[StepResult, ...], after: tuple[StepResult, ...]
) -> Iterator[Command]:
    changed = [
        rows.step_row(position, step)
        for position, step in enumerate(after)
        if position >= len(before) or step != before[position]
    ]
    key = {"job_id": job.id, "attempt": attempt}
    if changed:
        yield _SET_STEPS, key | {"steps": to_json(changed)}
    if len(after) < len(before):
        yield _CUT_STEPS, key | {"length": len(after)}
