"""What the repository does with a connection, one function for each method. They run in a connection's thread.

Those that write are called within a transaction of the one writer.
"""

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from ci_common.errors import JobAlreadyCompleted, JobNotFound, QueueFull, StaleWrite
from ci_common.jobs import Job, State
from ci_common.processes import ProcessIdentity
from ci_common.times import to_micros
from ci_persistence import filters, queries
from ci_persistence.repository import JobFilter, Lease
from ci_persistence.rows import controller_columns, to_job, to_json


def ping(connection: sqlite3.Connection) -> None:
    connection.execute(queries.PING).fetchall()


def data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute(queries.DATA_VERSION).fetchone()["data_version"])


def installation_id(connection: sqlite3.Connection) -> str:
    return str(connection.execute(queries.INSTALLATION_ID).fetchone()["id"])


def add(connection: sqlite3.Connection, *, row: dict[str, Any], max_queued: int) -> None:
    if connection.execute(queries.INSERT_JOB, row | {"max_queued": max_queued}).rowcount == 0:
        raise QueueFull(f"{max_queued} jobs are queued already, and no more are accepted; try again later")


def get(connection: sqlite3.Connection, *, job_id: str) -> Job:
    row = connection.execute(queries.GET_JOB, {"id": job_id}).fetchone()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return to_job(row)


def get_many(connection: sqlite3.Connection, *, job_ids: Iterable[str]) -> dict[str, Job]:
    return {job.id: job for job in _jobs(connection, queries.GET_JOBS, {"ids": to_json(list(job_ids))})}


def list_jobs(connection: sqlite3.Connection, *, where: JobFilter, limit: int, older_than: str | None) -> list[Job]:
    values = filters.parameters(where, older_than)
    statement = queries.list_jobs(name for name in values if name in queries.CONDITIONS)
    return _jobs(connection, statement, values | {"limit": limit})


def queued(connection: sqlite3.Connection) -> list[Job]:
    return _jobs(connection, queries.QUEUED_JOBS)


def active(connection: sqlite3.Connection) -> list[Job]:
    return _jobs(connection, queries.ACTIVE_JOBS)


def request_cancel(connection: sqlite3.Connection, *, job_id: str, now: datetime) -> Job:
    connection.execute(queries.REQUEST_CANCEL, {"id": job_id, "now": to_micros(now)})
    job = get(connection, job_id=job_id)
    if job.state is State.COMPLETED:
        raise JobAlreadyCompleted(f"job {job_id} has completed already ({job.conclusion}), so it cannot be cancelled")
    return job


def update(connection: sqlite3.Connection, *, seen: Job, lease: Lease, changes: dict[str, Any]) -> Job:
    _check_leads(connection, lease)
    stored = get(connection, job_id=seen.id)
    if stored.version != seen.version:
        raise StaleWrite(f"job {seen.id} has version {stored.version} by now, not {seen.version}")
    changed = stored.with_changes(**changes)
    key = {"id": stored.id, "version": stored.version}
    connection.execute(queries.UPDATE_JOB, controller_columns(changed) | key)
    return changed.with_changes(version=stored.version + 1)


def acquire(connection: sqlite3.Connection, *, holder: ProcessIdentity, seconds: float, now: datetime) -> Lease | None:
    row = connection.execute(queries.GET_LEASE).fetchone()
    if row["holder"] is not None and to_micros(now) < row["expires"] and not _is_dead(row["holder"]):
        return None
    connection.execute(queries.TAKE_LEASE, {"holder": holder.to_json(), "expires": _end(now, seconds)})
    return Lease(holder, row["fence"] + 1)


def renew(connection: sqlite3.Connection, *, lease: Lease, seconds: float, now: datetime) -> None:
    if connection.execute(queries.RENEW_LEASE, _key(lease) | {"expires": _end(now, seconds)}).rowcount == 0:
        raise StaleWrite(f"leadership number {lease.fence} is over")


def release(connection: sqlite3.Connection, *, lease: Lease) -> None:
    connection.execute(queries.RELEASE_LEASE, _key(lease))


def _jobs(connection: sqlite3.Connection, statement: str, values: dict[str, Any] | None = None) -> list[Job]:
    return [to_job(row) for row in connection.execute(statement, values or {})]


def _check_leads(connection: sqlite3.Connection, lease: Lease) -> None:
    row = connection.execute(queries.GET_LEASE).fetchone()
    if (row["fence"], row["holder"]) != (lease.fence, lease.holder.to_json()):
        raise StaleWrite(f"leadership number {lease.fence} is over")


def _is_dead(holder: str) -> bool:
    """Tell whether the process is known to be dead; one of another machine is not known to be."""
    try:
        process = ProcessIdentity.from_json(holder)
    except ValueError:
        return False  # Another version of the program may name processes otherwise.
    return process.is_here() and not process.is_alive()


def _key(lease: Lease) -> dict[str, Any]:
    return {"fence": lease.fence, "holder": lease.holder.to_json()}


def _end(now: datetime, seconds: float) -> int:
    return to_micros(now + timedelta(seconds=seconds))
