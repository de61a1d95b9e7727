"""What an update of a job writes: its row, its current attempt and their steps, and what counts and reports the change.

Only the columns that change are written. A database checks, indexes and stores each column that a statement names.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from ci_common.attempts.parts import StepResult
from ci_common.jobs import Job, State
from ci_persistence import rows
from ci_persistence.database import Command
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json
from ci_persistence.stores.access.quotas import bytes_of, count_bytes
from ci_persistence.stores.kept.artifacts import write_artifacts
from ci_persistence.stores.kept.records import write_record
from ci_persistence.stores.leases import Lease, leads
from ci_persistence.stores.metrics import count_stages, count_transition
from ci_persistence.stores.outbox import EVENT_OF_STATE, write_event

_STATEMENTS = 256
"""How many statements are kept of a kind: one for each set of columns that has been written together."""

_CHANGE_QUEUE = Statement(lambda sql: f"UPDATE queue SET length = length + :by WHERE {sql.given}")


def _names(columns: Iterable[str]) -> str:
    return ", ".join(columns)


@lru_cache(_STATEMENTS)
def _update_of(columns: tuple[str, ...]) -> Statement:
    """Return the statement that sets these columns of a job if the lease leads and the row still has :version."""
    assignments = "".join(f", {column} = :{column}" for column in columns)
    return Statement(
        lambda sql: (
            f"""
UPDATE jobs SET version = version + 1{assignments}
WHERE id = :id AND version = :version AND {leads(sql.share_lock)}
RETURNING cancel_requested_time, replaced_by
"""
        )
    )


@lru_cache(_STATEMENTS)
def _set_attempt(columns: tuple[str, ...]) -> Statement:
    """Return the statement that sets these columns of an attempt, which gets a row if it has none.

    The columns have to make a row that keeps the rules by themselves: databases check that before they find the other.
    """
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return Statement(
        lambda sql: (
            f"""
INSERT INTO attempts ({", ".join(("job_id", "number", *columns))})
{sql.one(", ".join(f":{name}" for name in ("job_id", "number", *columns)))}
ON CONFLICT (job_id, number) DO {f"UPDATE SET {updates}" if updates else "NOTHING"}
"""
        )
    )


@lru_cache(_STATEMENTS)
def _change_attempt(columns: tuple[str, ...]) -> Statement:
    """Return the statement that sets these columns of an attempt that has a row."""
    assignments = ", ".join(f"{column} = :{column}" for column in columns)
    return Statement(
        lambda sql: f"UPDATE attempts SET {assignments} WHERE job_id = :job_id AND number = :number AND {sql.given}"
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


def compare_and_set(seen: Job, changed: Job, lease: Lease) -> Command:
    """Return the command that changes the row of a job as it was seen. It returns what the API has written of it."""
    columns = rows.changed_columns(seen, changed)
    return _update_of(tuple(columns)), {**columns, "id": seen.id, "version": seen.version, **lease.values()}


def changes_of_job(seen: Job, changed: Job) -> Iterator[Command]:
    """Yield what follows the row of a job in the same transaction."""
    yield from _write_attempts(seen, changed)
    yield from _write_transition(seen, changed)
    yield from count_bytes(changed.project, changed.owner, bytes_of(changed) - bytes_of(seen))


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
    for attempt in changed.earlier_attempts[len(seen.earlier_attempts) :]:
        yield _write_attempt(rows.ended_attempt_columns(seen, attempt), has_row=False)
        yield from _write_steps(seen, attempt.number, seen.steps, attempt.steps)
        yield from write_artifacts(seen.id, attempt.number, seen.artifacts, attempt.artifacts)
        yield write_record(changed.as_of(attempt.number))
    before = seen if changed.attempt == seen.attempt else None
    columns = rows.changed_attempt_columns(before, changed)
    steps_before = () if before is None else before.steps
    if columns or (changed.steps and not steps_before):
        key = {"job_id": changed.id, "number": changed.attempt}
        yield _write_attempt(columns | key, has_row=before is not None and not rows.is_blank(before))
    yield from _write_steps(changed, changed.attempt, steps_before, changed.steps)
    yield from write_artifacts(
        changed.id, changed.attempt, None if before is None else before.artifacts, changed.artifacts
    )
    if changed.state is State.COMPLETED and seen.state is not State.COMPLETED:
        yield write_record(changed)


def _write_attempt(columns: dict[str, Any], *, has_row: bool) -> Command:
    names = tuple(name for name in columns if name not in ("job_id", "number"))
    return (_change_attempt if has_row and names else _set_attempt)(names), columns


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
