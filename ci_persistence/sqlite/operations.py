"""What the repository does with a connection, one function for each method.

They block, and run in the connection's thread. Those that write are called within a transaction of the one writer,
which they share with others: each writes with one statement, so that one that fails has changed nothing.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ci_common.errors import JobAlreadyCompleted, JobNotFound, LeadershipLost, QueueFull, StaleWrite
from ci_common.jobs import Job, State
from ci_common.pool import NO_POOL, PoolState
from ci_common.system.processes import ProcessIdentity
from ci_common.times import from_micros, to_micros
from ci_persistence.metrics import STAGE_BOUNDS, Figures, StageTimes
from ci_persistence.repository import Held, Installation, JobFilter, Lease
from ci_persistence.sqlite import filters, queries
from ci_persistence.sqlite.rows import controller_columns, new_row, to_job, to_json

_ROWS_AT_ONCE = 64
_NO_BOUND = 2**63 - 1


def ping(connection: sqlite3.Connection) -> None:
    connection.execute(queries.PING).fetchall()


def data_version(connection: sqlite3.Connection) -> int:
    return int((row_of(connection, queries.DATA_VERSION))["data_version"])


def installation(connection: sqlite3.Connection) -> Installation:
    return Installation(*row_of(connection, queries.INSTALLATION))


def bind(connection: sqlite3.Connection, *, lease: Lease, installation: Installation) -> None:
    if change(connection, queries.BIND, key_of(lease) | asdict(installation)) == 0:
        raise over(lease)


@dataclass(frozen=True, slots=True)
class Addition:
    """One more queued job, unless there are `max_queued`."""

    job: Job
    max_queued: int

    def __call__(self, connection: sqlite3.Connection) -> Job:
        (stored,) = add_together(connection, [self])
        if isinstance(stored, QueueFull):
            raise stored
        return stored


def add_together(connection: sqlite3.Connection, additions: Sequence[Addition]) -> list[Job | QueueFull]:
    """Store those jobs for which there is room, the first ones, and return them, and the errors of the others."""
    length = queue_length(connection)
    rows, outcomes = list[tuple[object, ...]](), list[Job | QueueFull]()
    for addition in additions:
        fits = length + len(rows) < addition.max_queued
        outcomes.append(addition.job if fits else QueueFull.beyond(addition.max_queued))
        if fits:
            rows.append(new_row(addition.job))
    begin = 0
    for count in _powers_of_two(len(rows)):
        values = [value for row in rows[begin : begin + count] for value in row]
        connection.execute(queries.insert_jobs(count), values)
        begin += count
    return outcomes


def _powers_of_two(total: int) -> Iterator[int]:
    """Yield `total` in parts of few different sizes, largest first: each size is a statement that is prepared once."""
    while total:
        part = min(_ROWS_AT_ONCE, 1 << total.bit_length() - 1)
        yield part
        total -= part


def queue_length(connection: sqlite3.Connection) -> int:
    return int((row_of(connection, queries.QUEUE_LENGTH))["length"])


def figures(connection: sqlite3.Connection) -> Figures:
    row = dict(row_of(connection, queries.FIGURES))
    holder = row.pop("holder")
    return Figures(leads=holder is not None and not _is_dead(holder), **row)


def stages(connection: sqlite3.Connection) -> list[StageTimes]:
    found: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
    for stage, way, up_to, jobs, micros in connection.execute(queries.STAGES):
        found.setdefault((stage, way), {})[up_to] = jobs, micros
    return [
        StageTimes(
            stage,
            way,
            tuple(buckets.get(bound, (0, 0))[0] for bound in (*STAGE_BOUNDS, _NO_BOUND)),
            sum(micros for _, micros in buckets.values()),
        )
        for (stage, way), buckets in found.items()
    ]


def get(connection: sqlite3.Connection, *, job_id: str) -> Job:
    jobs = _jobs(connection, queries.GET_JOB, {"id": job_id})
    if not jobs:
        raise JobNotFound(f"there is no job {job_id}")
    return jobs[0]


def get_many(connection: sqlite3.Connection, *, job_ids: Iterable[str]) -> dict[str, Job]:
    return {job.id: job for job in _jobs(connection, queries.GET_JOBS, {"ids": to_json(list(job_ids))})}


def get_holders(connection: sqlite3.Connection, *, workloads: Iterable[str]) -> dict[str, Job]:
    jobs = _jobs(connection, queries.GET_HOLDERS, {"workloads": to_json(list(workloads))})
    return {job.workload: job for job in jobs if job.workload is not None}


def pool(connection: sqlite3.Connection) -> PoolState:
    state = row_of(connection, queries.GET_POOL)["state"]
    return NO_POOL if state is None else PoolState.model_validate_json(state)


def publish_pool(connection: sqlite3.Connection, *, state: PoolState, lease: Lease) -> None:
    if change(connection, queries.SET_POOL, {"state": state.model_dump_json(), **key_of(lease)}) == 0:
        raise over(lease)


def list_jobs(connection: sqlite3.Connection, *, where: JobFilter, limit: int, older_than: str | None) -> list[Job]:
    values = filters.parameters(where, older_than)
    statement = queries.list_jobs(name for name in values if name in queries.CONDITIONS)
    return _jobs(connection, statement, values | {"limit": limit})


def request_cancel(connection: sqlite3.Connection, *, job_id: str, now: datetime) -> Job:
    change(connection, queries.REQUEST_CANCEL, {"id": job_id, "now": to_micros(now)})
    job = get(connection, job_id=job_id)
    if job.state is State.COMPLETED:
        raise JobAlreadyCompleted(f"job {job_id} has completed already ({job.conclusion}), so it cannot be cancelled")
    return job


def update(connection: sqlite3.Connection, *, seen: Job, lease: Lease, changes: dict[str, Any]) -> Job:
    changed = seen.with_changes(**changes)
    key = {"id": seen.id, "version": seen.version, **key_of(lease)}
    rows = connection.execute(queries.UPDATE_JOB, controller_columns(changed) | key).fetchall()
    if not rows:
        if not leads(connection, lease=lease):
            raise over(lease)
        stored = get(connection, job_id=seen.id)
        raise StaleWrite(f"job {seen.id} has version {stored.version} by now, not {seen.version}")
    cancelled = rows[0]["cancel_requested_time"]
    return changed.with_changes(
        version=seen.version + 1, cancel_requested_time=None if cancelled is None else from_micros(cancelled)
    )


def held(connection: sqlite3.Connection) -> Held | None:
    row = row_of(connection, queries.GET_LEASE)
    return None if row["holder"] is None else Held(row["fence"], row["renewal"], row["seconds"])


def leads(connection: sqlite3.Connection, *, lease: Lease) -> bool:
    row = row_of(connection, queries.GET_LEASE)
    return (row["fence"], row["holder"]) == (lease.fence, lease.holder.to_json())


def acquire(
    connection: sqlite3.Connection, *, holder: ProcessIdentity, seconds: float, lapsed: Held | None
) -> Lease | None:
    row = row_of(connection, queries.GET_LEASE)
    present = held(connection)
    if present is not None and present != lapsed and not _is_dead(row["holder"]):
        return None
    change(connection, queries.TAKE_LEASE, {"holder": holder.to_json(), "seconds": seconds})
    return Lease(holder, row["fence"] + 1)


def renew(connection: sqlite3.Connection, *, lease: Lease, seconds: float) -> None:
    if change(connection, queries.RENEW_LEASE, key_of(lease) | {"seconds": seconds}) == 0:
        raise over(lease)


def release(connection: sqlite3.Connection, *, lease: Lease) -> None:
    change(connection, queries.RELEASE_LEASE, key_of(lease))


def _jobs(connection: sqlite3.Connection, statement: str, values: dict[str, Any] | None = None) -> list[Job]:
    return [to_job(row) for row in connection.execute(statement, values or {})]


def row_of(connection: sqlite3.Connection, statement: str, values: dict[str, Any] | None = None) -> sqlite3.Row:
    """Return the one row that such a statement always has."""
    (row,) = connection.execute(statement, values or {})
    assert isinstance(row, sqlite3.Row)
    return row


def change(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> int:
    """Return how many rows the statement has changed."""
    return connection.execute(statement, values).rowcount


def _is_dead(holder: str) -> bool:
    """Tell whether the process is known to be dead; one of another machine is not known to be."""
    try:
        process = ProcessIdentity.from_json(holder)
    except ValueError:
        return False  # Another version of the program may name processes otherwise.
    return process.is_here() and not process.is_alive()


def key_of(lease: Lease) -> dict[str, Any]:
    """Return the values of the condition `queries.LEADS`."""
    return {"fence": lease.fence, "holder": lease.holder.to_json()}


def over(lease: Lease) -> LeadershipLost:
    return LeadershipLost(f"leadership number {lease.fence} is over")
