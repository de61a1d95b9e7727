"""What the repository does with a connection, one function for each method.

Those that write are called within a transaction of the one writer, which they share with others: each writes with one
statement, so that one that fails has changed nothing.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import aiosqlite

from ci_common.errors import JobAlreadyCompleted, JobNotFound, LeadershipLost, QueueFull, StaleWrite
from ci_common.jobs import Job, State
from ci_common.pool import NO_POOL, PoolState
from ci_common.processes import ProcessIdentity
from ci_common.times import from_micros, to_micros
from ci_persistence import filters, queries
from ci_persistence.repository import Held, Installation, JobFilter, Lease
from ci_persistence.rows import controller_columns, to_job, to_json


async def ping(connection: aiosqlite.Connection) -> None:
    await connection.execute_fetchall(queries.PING)


async def data_version(connection: aiosqlite.Connection) -> int:
    return int((await row_of(connection, queries.DATA_VERSION))["data_version"])


async def installation(connection: aiosqlite.Connection) -> Installation:
    return Installation(*await row_of(connection, queries.INSTALLATION))


async def bind(connection: aiosqlite.Connection, *, lease: Lease, installation: Installation) -> None:
    if await change(connection, queries.BIND, key_of(lease) | asdict(installation)) == 0:
        raise over(lease)


async def add(connection: aiosqlite.Connection, *, row: dict[str, Any], max_queued: int) -> None:
    if await change(connection, queries.INSERT_JOB, row | {"max_queued": max_queued}) == 0:
        raise QueueFull.beyond(max_queued)


async def queue_length(connection: aiosqlite.Connection) -> int:
    return int((await row_of(connection, queries.QUEUE_LENGTH))["length"])


async def get(connection: aiosqlite.Connection, *, job_id: str) -> Job:
    jobs = await _jobs(connection, queries.GET_JOB, {"id": job_id})
    if not jobs:
        raise JobNotFound(f"there is no job {job_id}")
    return jobs[0]


async def get_many(connection: aiosqlite.Connection, *, job_ids: Iterable[str]) -> dict[str, Job]:
    return {job.id: job for job in await _jobs(connection, queries.GET_JOBS, {"ids": to_json(list(job_ids))})}


async def get_holders(connection: aiosqlite.Connection, *, workloads: Iterable[str]) -> dict[str, Job]:
    jobs = await _jobs(connection, queries.GET_HOLDERS, {"workloads": to_json(list(workloads))})
    return {job.workload: job for job in jobs if job.workload is not None}


async def pool(connection: aiosqlite.Connection) -> PoolState:
    state = (await row_of(connection, queries.GET_POOL))["state"]
    return NO_POOL if state is None else PoolState.model_validate_json(state)


async def publish_pool(connection: aiosqlite.Connection, *, state: PoolState, lease: Lease) -> None:
    if await change(connection, queries.SET_POOL, {"state": state.model_dump_json(), **key_of(lease)}) == 0:
        raise over(lease)


async def list_jobs(
    connection: aiosqlite.Connection, *, where: JobFilter, limit: int, older_than: str | None
) -> list[Job]:
    values = filters.parameters(where, older_than)
    statement = queries.list_jobs(name for name in values if name in queries.CONDITIONS)
    return await _jobs(connection, statement, values | {"limit": limit})


async def request_cancel(connection: aiosqlite.Connection, *, job_id: str, now: datetime) -> Job:
    await change(connection, queries.REQUEST_CANCEL, {"id": job_id, "now": to_micros(now)})
    job = await get(connection, job_id=job_id)
    if job.state is State.COMPLETED:
        raise JobAlreadyCompleted(f"job {job_id} has completed already ({job.conclusion}), so it cannot be cancelled")
    return job


async def update(connection: aiosqlite.Connection, *, seen: Job, lease: Lease, changes: dict[str, Any]) -> Job:
    changed = seen.with_changes(**changes)
    key = {"id": seen.id, "version": seen.version, **key_of(lease)}
    rows = list(await connection.execute_fetchall(queries.UPDATE_JOB, controller_columns(changed) | key))
    if not rows:
        if not await leads(connection, lease=lease):
            raise over(lease)
        stored = await get(connection, job_id=seen.id)
        raise StaleWrite(f"job {seen.id} has version {stored.version} by now, not {seen.version}")
    cancelled = rows[0]["cancel_requested_time"]
    return changed.with_changes(
        version=seen.version + 1, cancel_requested_time=None if cancelled is None else from_micros(cancelled)
    )


async def held(connection: aiosqlite.Connection) -> Held | None:
    row = await row_of(connection, queries.GET_LEASE)
    return None if row["holder"] is None else Held(row["fence"], row["renewal"], row["seconds"])


async def leads(connection: aiosqlite.Connection, *, lease: Lease) -> bool:
    row = await row_of(connection, queries.GET_LEASE)
    return (row["fence"], row["holder"]) == (lease.fence, lease.holder.to_json())


async def acquire(
    connection: aiosqlite.Connection, *, holder: ProcessIdentity, seconds: float, lapsed: Held | None
) -> Lease | None:
    row = await row_of(connection, queries.GET_LEASE)
    present = await held(connection)
    if present is not None and present != lapsed and not _is_dead(row["holder"]):
        return None
    await change(connection, queries.TAKE_LEASE, {"holder": holder.to_json(), "seconds": seconds})
    return Lease(holder, row["fence"] + 1)


async def renew(connection: aiosqlite.Connection, *, lease: Lease, seconds: float) -> None:
    if await change(connection, queries.RENEW_LEASE, key_of(lease) | {"seconds": seconds}) == 0:
        raise over(lease)


async def release(connection: aiosqlite.Connection, *, lease: Lease) -> None:
    await change(connection, queries.RELEASE_LEASE, key_of(lease))


async def _jobs(connection: aiosqlite.Connection, statement: str, values: dict[str, Any] | None = None) -> list[Job]:
    return [to_job(row) for row in await connection.execute_fetchall(statement, values)]


async def row_of(
    connection: aiosqlite.Connection, statement: str, values: dict[str, Any] | None = None
) -> aiosqlite.Row:
    """Return the one row that such a statement always has."""
    (row,) = await connection.execute_fetchall(statement, values)
    return row


async def change(connection: aiosqlite.Connection, statement: str, values: dict[str, Any]) -> int:
    """Return how many rows the statement has changed."""
    async with connection.execute(statement, values) as cursor:
        return cursor.rowcount


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
