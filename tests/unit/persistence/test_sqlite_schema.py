"""The schema keeps the invariants by itself, whichever process writes."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import Unavailable
from ci_common.jobs import ACTIVE_STATES, TRANSITIONS, Conclusion, State
from ci_persistence.dialects import Statement
from ci_persistence.job_lists import _listing
from ci_persistence.reports import trends
from ci_persistence.rows import CONTROLLER_FIELDS, api_columns, attempt_columns, controller_columns, first_version
from ci_persistence.sqlite.schema import migrate, migrations
from ci_persistence.stores import inspection, job_changes, jobs, metrics, queue, retention
from tests.helpers.jobs import new_job

WHOLE: dict[State, dict[str, Any]] = {
    State.QUEUED: {"end_time": None, "conclusion": None},
    State.STARTING: {"end_time": None, "conclusion": None},
    State.RUNNING: {"end_time": None, "conclusion": None},
    State.COMPLETED: {"end_time": 2, "conclusion": "failed"},
}
"""What goes with a state."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    migrate_file(path, migrations())
    return path


def migrate_file(path: Path, scripts: list[str]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as migrating:
        try:
            migrate(migrating, scripts)
        finally:
            assert not migrating.in_transaction


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def insert(connection: sqlite3.Connection, **columns: Any) -> str:
    job = first_version(new_job())
    insert_row(connection, "jobs", api_columns(job) | controller_columns(job) | columns)
    return job.id


def insert_row(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", row)


def change(connection: sqlite3.Connection, job_id: str, **columns: Any) -> None:
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    connection.execute(f"UPDATE jobs SET {assignments} WHERE id = :job_id", columns | {"job_id": job_id})


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_transitions_are_those_of_the_table(connection: sqlite3.Connection, before: State, after: State) -> None:
    job_id = insert(connection, state=before, **WHOLE[before], max_attempts=2)
    requeued = {"attempt": 2} if before in ACTIVE_STATES and after is State.QUEUED else {}
    if after == before or after in TRANSITIONS[before]:
        change(connection, job_id, state=after, **WHOLE[after], **requeued)
    else:
        with pytest.raises(sqlite3.IntegrityError, match="jobs_transitions"):
            change(connection, job_id, state=after, **WHOLE[after])


@pytest.mark.parametrize("conclusion", Conclusion)
def test_every_conclusion_is_known(connection: sqlite3.Connection, conclusion: Conclusion) -> None:
    insert(connection, state="completed", end_time=1, conclusion=conclusion)


@pytest.mark.parametrize(
    ("rule", "state", "columns"),
    [
        ("state_is_known", State.QUEUED, {"state": "paused"}),
        ("conclusion_is_known", State.COMPLETED, {"conclusion": "lost"}),
        ("conclusion_iff_completed", State.COMPLETED, {"conclusion": None}),
        ("conclusion_iff_completed", State.RUNNING, {"conclusion": "failed"}),
        ("end_time_iff_completed", State.COMPLETED, {"end_time": None}),
        ("end_time_iff_completed", State.QUEUED, {"end_time": 1}),
        ("stop_is_ours", State.RUNNING, {"stop_code": "exit_code"}),
        ("no_stop_while_queued", State.QUEUED, {"stop_code": "cancelled"}),
        ("attempt_in_range", State.QUEUED, {"attempt": 2}),
        ("attempt_in_range", State.QUEUED, {"attempt": 0}),
        ("reason_is_whole", State.QUEUED, {"reason_code": None}),
        ("replacing_cancels", State.QUEUED, {"replaced_by": "another"}),
        ("cancel_running", State.QUEUED, {"cancel_running": 2}),
        ("submit_time", State.QUEUED, {"submit_time": "2025-01-31"}),
        ("submit_time", State.QUEUED, {"submit_time": 1.5}),
        ("payload", State.QUEUED, {"payload": "[]"}),
        ("labels", State.QUEUED, {"labels": "{"}),
        ("plan", State.QUEUED, {"plan": "1"}),
    ],
)
def test_refuses(connection: sqlite3.Connection, rule: str, state: State, columns: dict[str, Any]) -> None:
    insert(connection, state=state, **WHOLE[state])
    with pytest.raises(sqlite3.IntegrityError, match=rule):
        insert(connection, **{"state": state} | WHOLE[state] | columns)


@pytest.mark.parametrize(
    ("rule", "columns"),
    [
        ("start_way_is_known", {"start_way": "hot"}),
        ("attempt_conclusion_is_known", {"conclusion": "lost", "end_time": 1}),
        ("attempt_end_is_whole", {"conclusion": "failed"}),
        ("attempt_end_is_whole", {"end_time": 1}),
        ("attempt_reason_is_whole", {"reason_code": "exit_code"}),
        ("digest_only_once_ended", {"log_sha256": "0"}),
        ("exit_code_is_a_byte", {"exit_code": 256}),
        ("success_is_zero", {"conclusion": "succeeded", "end_time": 1, "exit_code": 1}),
        ("log_bytes_not_negative", {"log_bytes": -1}),
        ("start_time", {"start_time": "noon"}),
        ("trace", {"trace": "[]"}),
        ("FOREIGN KEY", {"job_id": "none"}),
    ],
)
def test_refuses_an_attempt(connection: sqlite3.Connection, rule: str, columns: dict[str, Any]) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    row = attempt_columns(first_version(new_job())) | {"job_id": insert(connection)}
    insert_row(connection, "attempts", row)
    with pytest.raises(sqlite3.IntegrityError, match=rule):
        insert_row(connection, "attempts", row | {"number": 2} | columns)


def test_what_was_asked_for_never_changes(connection: sqlite3.Connection) -> None:
    job_id = insert(connection)
    for column in api_columns(first_version(new_job())):
        with pytest.raises(sqlite3.IntegrityError, match="jobs_asked_once"):
            change(connection, job_id, **{column: 1})


@pytest.mark.parametrize(("before", "after", "attempt"), [("running", "queued", 1), ("running", "running", 2)])
def test_an_attempt_begins_with_being_queued_again(
    connection: sqlite3.Connection, before: State, after: State, attempt: int
) -> None:
    job_id = insert(connection, state=before, **WHOLE[State(before)], max_attempts=2)
    with pytest.raises(sqlite3.IntegrityError, match="jobs_attempts"):
        change(connection, job_id, state=after, attempt=attempt)


def test_only_completed_jobs_are_deleted(connection: sqlite3.Connection) -> None:
    for state in State:
        job_id = insert(connection, state=state, **WHOLE[state])
        if state is not State.COMPLETED:
            with pytest.raises(sqlite3.IntegrityError, match="jobs_deleted_once_completed"):
                connection.execute("DELETE FROM jobs WHERE id = ?", [job_id])
    connection.execute("DELETE FROM jobs WHERE id = ?", [job_id])


def test_the_first_cancel_request_stands(connection: sqlite3.Connection) -> None:
    job_id = insert(connection)
    change(connection, job_id, cancel_requested_time=1)
    for value in (2, None):
        with pytest.raises(sqlite3.IntegrityError, match="jobs_cancelled_once"):
            change(connection, job_id, cancel_requested_time=value)


def test_each_column_has_one_writer(connection: sqlite3.Connection) -> None:
    table = {row["name"] for row in connection.execute("PRAGMA table_info(jobs)")}
    job = first_version(new_job())
    ours, theirs = set(api_columns(job)), set(controller_columns(job))
    assert ours | theirs | {"cancel_requested_time", "replaced_by", "version"} == table
    assert not ours & theirs
    of_attempts = set(attempt_columns(job)) - {"job_id", "number"} | {"steps", "earlier_attempts"}
    assert (theirs | of_attempts) - {"reason_code", "reason_message"} | {"reason"} == CONTROLLER_FIELDS


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (jobs._GET, "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)"),
        (_listing(frozenset([])), "SCAN jobs USING INDEX sqlite_autoindex_jobs_1"),
        (_listing(frozenset(["older_than"])), "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id<?)"),
        (_listing(frozenset(["project"])), "SEARCH jobs USING INDEX jobs_of_project (project=?)"),
        (
            _listing(frozenset(["older_than", "project"])),
            "SEARCH jobs USING INDEX jobs_of_project (project=? AND id<?)",
        ),
        (retention._list_ended(frozenset([])), "SCAN jobs USING COVERING INDEX jobs_ended"),
        (retention._list_ended(frozenset(["before"])), "SEARCH jobs USING COVERING INDEX jobs_ended (end_time<?)"),
        (
            retention._list_ended(frozenset(["before", "since", "has_upload"])),
            "SEARCH jobs USING INDEX jobs_ended (end_time>? AND end_time<?)",
        ),
        (
            retention._list_ended(frozenset(["before", "project"])),
            "SEARCH jobs USING COVERING INDEX jobs_ended_of_project (project=? AND end_time<?)",
        ),
        (retention._CROWDED_PROJECTS, "SEARCH jobs USING COVERING INDEX jobs_ended_of_project (project>?)"),
        (trends._LAST, "SEARCH jobs USING COVERING INDEX jobs_ended_of_project (project=?)"),
        (retention._LIST_REMOVALS, "SEARCH removals USING INDEX sqlite_autoindex_removals_1 (job_id>?)"),
    ],
)
def test_is_served_by_one_index_without_sorting(
    connection: sqlite3.Connection, query: Statement, expected: str
) -> None:
    steps = plan(connection, query)
    assert steps[0] == expected
    assert not any("SCAN" in step or "TEMP B-TREE FOR ORDER BY" in step for step in steps[1:] if " jobs" in step), steps


@pytest.mark.parametrize("query", [queue._QUEUED_KEYS, queue._ACTIVE_KEYS])
def test_keys_are_read_from_their_index_alone_and_without_sorting(
    connection: sqlite3.Connection, query: Statement
) -> None:
    steps = plan(connection, query)
    assert "SEARCH jobs USING COVERING INDEX jobs_unfinished (state=?)" in steps
    assert not any("B-TREE" in step or "TABLE jobs" in step for step in steps), steps


def test_unfinished_jobs_are_found_by_their_index(connection: sqlite3.Connection) -> None:
    steps = plan(connection, _listing(frozenset(["older_than", "unfinished"]), ACTIVE_STATES))
    assert any(step.startswith("SEARCH jobs USING INDEX jobs_unfinished (state=?") for step in steps), steps
    assert "SEARCH jobs USING INDEX jobs_unfinished (state=?)" in plan(connection, queue._STANDING)


@pytest.mark.parametrize(
    ("conditions", "index"),
    [(["keep"], "jobs_ended"), (["keep", "project"], "jobs_ended_of_project"), (["keep", "before"], "jobs_ended")],
)
def test_the_newest_are_counted_in_the_index(connection: sqlite3.Connection, conditions: list[str], index: str) -> None:
    steps = plan(connection, retention._list_ended(frozenset(conditions)))
    assert len([step for step in steps if f"USING COVERING INDEX {index}" in step]) == 2, steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


@pytest.mark.parametrize("conditions", [["before", "conclusions"], ["before", "conclusions", "other_than"]])
def test_ended_jobs_are_found_in_their_order(connection: sqlite3.Connection, conditions: list[str]) -> None:
    steps = plan(connection, retention._list_ended(frozenset(conditions)))
    assert any("USING COVERING INDEX jobs_ended (end_time<?)" in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


RECURRING = {
    "the loop's look at the queue": queue._QUEUED_KEYS,
    "and at the active jobs": queue._ACTIVE_KEYS,
    "jobs by their ids": jobs._GET_MANY,
    "a job by its id": jobs._GET,
    "a write": job_changes._update_of(tuple(controller_columns(first_version(new_job())))),
    "a cancel request": jobs._REQUEST_CANCEL,
    "the queue's length": queue._LENGTH,
    "the metrics": metrics._PRESENT,
    "the stages": metrics._STAGE_TIMES,
    "unfinished jobs, for the doctor": inspection._UNFINISHED,
    "the latest time, for the doctor": inspection._NEWEST_TIME,
    "whether the clock is to be trusted": retention._list_ended(frozenset(["since", "before"])),
    "jobs due by age": retention._list_ended(frozenset(["before", "conclusions", "other_than"])),
    "uploads due by age": retention._list_ended(frozenset(["before", "since", "has_upload", "other_than"])),
    "the next removals": retention._LIST_REMOVALS,
    "deletion": retention._DELETE,
    "what deletion leaves": retention._LEAVE_REMOVALS,
    "who may delete": retention._LOCK_AS_LEADER,
}
"""What is asked again and again, or whenever something starts."""


@pytest.mark.parametrize("query", RECURRING.values(), ids=RECURRING)
def test_nothing_that_recurs_looks_through_all_jobs(connection: sqlite3.Connection, query: Statement) -> None:
    for step in plan(connection, query):
        assert not step.startswith("SCAN jobs") or "jobs_unfinished" in step, step


def test_what_is_counted_is_never_looked_for_among_the_jobs(connection: sqlite3.Connection) -> None:
    steps = plan(connection, metrics._PRESENT)
    of_jobs = [step for step in steps if " jobs " in step]
    assert of_jobs == ["SEARCH jobs USING COVERING INDEX jobs_unfinished (state=?)"] * 2, steps


def test_jobs_are_deleted_by_their_ids(connection: sqlite3.Connection) -> None:
    for query in (retention._LOCK, retention._LOCK_AS_LEADER, retention._DELETE):
        steps = plan(connection, query)
        assert "sqlite_autoindex_jobs_1 (id=?)" in steps[0], steps
        assert not any(step.startswith("SCAN jobs") for step in steps), steps


def plan(connection: sqlite3.Connection, query: Statement) -> list[str]:
    names = re.findall(r"(?<=:)\w+", query.sqlite)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {query.sqlite}", dict.fromkeys(names, 1)).fetchall()
    return [row["detail"].replace("SCAN TABLE", "SCAN").replace("SEARCH TABLE", "SEARCH") for row in rows]


def test_migrates_once_and_keeps_what_is_there(database: Path, connection: sqlite3.Connection) -> None:
    job_id = insert(connection)
    migrate_file(database, [*migrations(), "CREATE TABLE later (a);\nINSERT INTO later\nVALUES (1);\n"])
    migrate_file(database, [*migrations(), "CREATE TABLE later (a);"])
    assert connection.execute("SELECT a FROM later").fetchone()["a"] == 1
    assert connection.execute("SELECT id FROM jobs").fetchone()["id"] == job_id


def test_a_failing_migration_leaves_nothing_behind(database: Path, connection: sqlite3.Connection) -> None:
    version = len(migrations())
    with pytest.raises(sqlite3.OperationalError):
        migrate_file(database, [*migrations(), "CREATE TABLE later (a);\nCREATE TABLE later (a);\n"])
    assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'later'").fetchone() is None
    assert connection.execute("PRAGMA user_version").fetchone()["user_version"] == version


def test_a_newer_database_is_refused(database: Path) -> None:
    with pytest.raises(Unavailable, match="newer"):
        migrate_file(database, migrations()[:-1])
