"""What the repository does with a connection, one function for each of its methods.

They block, and run in the connection's thread. Those that write share a transaction with others: only the first write
of a function can be refused, so a function that fails has changed nothing.
"""

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ci_common.errors import JobAlreadyCompleted, JobNotFound, LeadershipLost, QueueFull, StaleWrite
from ci_common.jobs import Job, State
from ci_common.pool import NO_POOL, PoolState
from ci_common.system.processes import ProcessIdentity
from ci_common.times import finished_stages, from_micros, to_micros
from ci_persistence.metrics import STAGE_BOUNDS, Metrics, StageTimes
from ci_persistence.repository import Installation, JobFilter, Lease, LeaseState
from ci_persistence.retention import Ended, Removal
from ci_persistence.sqlite import queries
from ci_persistence.sqlite.rows import controller_columns, new_row, to_job, to_json

_BUCKETS = (*STAGE_BOUNDS, 2**63 - 1)
"""The upper bounds of the buckets as they are stored; the last one is what a column can hold."""


def ping(connection: sqlite3.Connection) -> None:
    connection.execute(queries.PING).fetchall()


def data_version(connection: sqlite3.Connection) -> int:
    return int(_row(connection, queries.DATA_VERSION)["data_version"])


def installation(connection: sqlite3.Connection) -> Installation:
    return Installation(*_row(connection, queries.INSTALLATION))


def bind(connection: sqlite3.Connection, *, lease: Lease, installation: Installation) -> None:
    if _changed(connection, queries.BIND, _lease_key(lease) | asdict(installation)) == 0:
        raise _lost(lease)


# Jobs


def add(connection: sqlite3.Connection, *, job: Job, max_queued: int) -> Job:
    if _changed(connection, queries.INSERT_JOB, new_row(job) | {"max_queued": max_queued}) == 0:
        raise QueueFull.beyond(max_queued)
    return job


def queue_length(connection: sqlite3.Connection) -> int:
    return int(_row(connection, queries.QUEUE_LENGTH)["length"])


def get(connection: sqlite3.Connection, *, job_id: str) -> Job:
    jobs = _jobs(connection, queries.GET_JOB, {"id": job_id})
    if not jobs:
        raise JobNotFound(f"there is no job {job_id}")
    return jobs[0]


def get_many(connection: sqlite3.Connection, *, job_ids: Iterable[str]) -> dict[str, Job]:
    return {job.id: job for job in _jobs(connection, queries.GET_JOBS, {"ids": to_json(list(job_ids))})}


def list_jobs(connection: sqlite3.Connection, *, where: JobFilter, limit: int, older_than: str | None) -> list[Job]:
    values = queries.job_filter_values(where, older_than)
    statement = queries.list_jobs(name for name in values if name in queries.CONDITIONS)
    return _jobs(connection, statement, values | {"limit": limit})


def request_cancel(connection: sqlite3.Connection, *, job_id: str, now: datetime) -> Job:
    _changed(connection, queries.REQUEST_CANCEL, {"id": job_id, "now": to_micros(now)})
    job = get(connection, job_id=job_id)
    if job.state is State.COMPLETED:
        raise JobAlreadyCompleted(f"job {job_id} has completed already ({job.conclusion}), so it cannot be cancelled")
    return job


def update(connection: sqlite3.Connection, *, seen: Job, lease: Lease, changes: dict[str, Any]) -> Job:
    changed = seen.with_changes(**changes)
    key = {"id": seen.id, "version": seen.version, **_lease_key(lease)}
    rows = connection.execute(queries.UPDATE_JOB, controller_columns(changed) | key).fetchall()
    if not rows:
        _check_leads(connection, lease)
        stored = get(connection, job_id=seen.id)
        raise StaleWrite(f"job {seen.id} now has version {stored.version}, not {seen.version}")
    if changed.state is State.COMPLETED:
        _count_stages(connection, seen, changed)
    cancelled = rows[0]["cancel_requested_time"]
    return changed.with_changes(
        version=seen.version + 1, cancel_requested_time=None if cancelled is None else from_micros(cancelled)
    )


class CachedQuery:
    """One query for jobs, asked often on one connection: only the jobs that have changed are read again.

    The controller asks for all queued jobs at every wake-up, and there may be thousands. `keys_query` selects one text
    with a line for each job, in order: its id, a space, and what changes with every change of the job.
    """

    def __init__(self, keys_query: str) -> None:
        self._keys_query = keys_query
        self._keys = ""
        self._jobs: dict[str, Job] = {}

    def __call__(self, connection: sqlite3.Connection) -> list[Job]:
        """Return the jobs as they are now."""
        if self._read_keys(connection) != self._keys:
            self._read(connection)
        return list(self._jobs.values())

    def _read_keys(self, connection: sqlite3.Connection) -> str:
        ((keys,),) = connection.execute(self._keys_query)
        return str(keys)

    def _read(self, connection: sqlite3.Connection) -> None:
        """Read the jobs that have changed, in one transaction with the keys."""
        connection.execute(queries.BEGIN_READING)
        try:
            text = self._read_keys(connection)
            ids = {key: key.partition(" ")[0] for key in text.splitlines()}
            changed = get_many(connection, job_ids=[job_id for key, job_id in ids.items() if key not in self._jobs])
        finally:
            connection.execute(queries.COMMIT)
        self._keys, self._jobs = text, {key: self._jobs.get(key) or changed[job_id] for key, job_id in ids.items()}


# The pool


def pool(connection: sqlite3.Connection) -> PoolState:
    state = _row(connection, queries.GET_POOL)["state"]
    return NO_POOL if state is None else PoolState.model_validate_json(state)


def publish_pool(connection: sqlite3.Connection, *, state: PoolState, lease: Lease) -> None:
    if _changed(connection, queries.SET_POOL, {"state": state.model_dump_json(), **_lease_key(lease)}) == 0:
        raise _lost(lease)


# Deletion


def ended(connection: sqlite3.Connection, *, where: Ended, limit: int) -> list[str]:
    values = queries.ended_values(where)
    return _ids(connection, queries.list_ended(values), values | {"limit": limit})


def crowded_projects(connection: sqlite3.Connection, *, more_than: int) -> list[str]:
    return _ids(connection, queries.CROWDED_PROJECTS, {"more_than": more_than})


def delete(connection: sqlite3.Connection, *, job_ids: list[str], lease: Lease | None) -> list[str]:
    values = {"ids": to_json(job_ids)}
    if lease is None:
        deleted = _ids(connection, queries.DELETE_JOBS, values)
    else:
        deleted = _ids(connection, queries.DELETE_JOBS_AS_LEADER, values | _lease_key(lease))
        if not deleted:
            _check_leads(connection, lease)
    return sorted(deleted, key=job_ids.index)


def removals(connection: sqlite3.Connection, *, after: str, limit: int) -> list[Removal]:
    rows = connection.execute(queries.LIST_REMOVALS, {"after": after, "limit": limit})
    return [Removal(row["job_id"], frozenset(json.loads(row["runtimes"]))) for row in rows]


def count_removals(connection: sqlite3.Connection) -> int:
    return int(_row(connection, queries.COUNT_REMOVALS)["number"])


def forget_removals(connection: sqlite3.Connection, *, job_ids: list[str], lease: Lease) -> None:
    if _changed(connection, queries.FORGET_REMOVALS, {"ids": to_json(job_ids), **_lease_key(lease)}) == 0:
        _check_leads(connection, lease)


# Metrics


def metrics(connection: sqlite3.Connection) -> Metrics:
    row = dict(_row(connection, queries.METRICS))
    holder = row.pop("holder")
    return Metrics(leads=holder is not None and not _is_dead(holder), **row)


def stage_times(connection: sqlite3.Connection) -> list[StageTimes]:
    found: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
    for stage, way, bound, jobs, micros in connection.execute(queries.STAGE_TIMES):
        found.setdefault((stage, way), {})[bound] = jobs, micros
    return [
        StageTimes(
            stage,
            way,
            tuple(buckets.get(bound, (0, 0))[0] for bound in _BUCKETS),
            sum(micros for _, micros in buckets.values()),
        )
        for (stage, way), buckets in found.items()
    ]


def _count_stages(connection: sqlite3.Connection, before: Job, after: Job) -> None:
    for stage, micros in finished_stages(before, after):
        if micros <= _BUCKETS[-1]:
            bound = _BUCKETS[bisect_left(_BUCKETS, micros)]
            values = {"stage": stage, "way": after.start_way or "", "bound": bound, "micros": micros}
            connection.execute(queries.COUNT_STAGE, values)


# The lease


def lease_state(connection: sqlite3.Connection) -> LeaseState | None:
    row = _row(connection, queries.GET_LEASE)
    return None if row["holder"] is None else LeaseState(row["fence"], row["renewal"], row["seconds"])


def acquire(
    connection: sqlite3.Connection, *, holder: ProcessIdentity, seconds: float, expired: LeaseState | None
) -> Lease | None:
    row = _row(connection, queries.GET_LEASE)
    present = lease_state(connection)
    if present is not None and present != expired and not _is_dead(row["holder"]):
        return None
    _changed(connection, queries.TAKE_LEASE, {"holder": holder.to_json(), "seconds": seconds})
    return Lease(holder, row["fence"] + 1)


def renew(connection: sqlite3.Connection, *, lease: Lease, seconds: float) -> None:
    if _changed(connection, queries.RENEW_LEASE, _lease_key(lease) | {"seconds": seconds}) == 0:
        raise _lost(lease)


def release(connection: sqlite3.Connection, *, lease: Lease) -> None:
    _changed(connection, queries.RELEASE_LEASE, _lease_key(lease))


def _check_leads(connection: sqlite3.Connection, lease: Lease) -> None:
    if not _row(connection, queries.ASK_LEADS, _lease_key(lease))["leads"]:
        raise _lost(lease)


def _lease_key(lease: Lease) -> dict[str, Any]:
    """Return the values of the condition `queries.LEADS`."""
    return {"fence": lease.fence, "holder": lease.holder.to_json()}


def _lost(lease: Lease) -> LeadershipLost:
    return LeadershipLost(f"leadership number {lease.fence} is over")


def _is_dead(holder: str) -> bool:
    """Return whether the process is known to be dead; that of another machine is not known to be."""
    try:
        process = ProcessIdentity.from_json(holder)
    except ValueError:
        return False  # Another version of the program may name processes in another way.
    return process.is_here() and not process.is_alive()


def _jobs(connection: sqlite3.Connection, statement: str, values: dict[str, Any] | None = None) -> list[Job]:
    return [to_job(row) for row in connection.execute(statement, values or {})]


def _ids(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> list[str]:
    return [row[0] for row in connection.execute(statement, values)]


def _row(connection: sqlite3.Connection, statement: str, values: dict[str, Any] | None = None) -> sqlite3.Row:
    """Return the one row that such a statement always has."""
    (row,) = connection.execute(statement, values or {})
    assert isinstance(row, sqlite3.Row)
    return row


def _changed(connection: sqlite3.Connection, statement: str, values: dict[str, Any]) -> int:
    """Return how many rows the statement has changed."""
    return connection.execute(statement, values).rowcount
