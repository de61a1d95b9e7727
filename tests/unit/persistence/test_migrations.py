"""A database of every earlier schema opens, with all that was in it, whatever interrupts the migration."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import Unavailable
from ci_common.jobs import Job
from ci_persistence.job_lists import JobFilter
from ci_persistence.open import sqlite_storage
from ci_persistence.sqlite import schema
from ci_persistence.sqlite.schema import migrate, migrations
from tests.helpers.installation import ROOT

LATER = """
-- What a migration may do: add a table, fill it, replace a table, drop a trigger.
CREATE TABLE later (job_id TEXT NOT NULL, state TEXT NOT NULL);
INSERT INTO later SELECT id, state FROM jobs;
CREATE TABLE lease_2 (only_row INTEGER PRIMARY KEY, fence INTEGER NOT NULL, holder TEXT, renewal INTEGER, seconds REAL);
INSERT INTO lease_2 SELECT only_row, fence, holder, renewal, seconds FROM lease;
DROP TABLE lease;
ALTER TABLE lease_2 RENAME TO lease;
DROP TRIGGER jobs_cancelled_once;
"""
SCRIPTS = [*migrations(), LATER]
"""The program's migrations, and one more: the first release has only one."""
NEWEST = len(SCRIPTS)
OLDER = range(1, NEWEST)
ASKED = {
    "type": "container",
    "submit_time": 1_700_000_000_123_456,
    "owner": "local",
    "priority": -7,
    "project": "próject",
    "labels": '{"k":"☃"}',
    "payload": '{"a":[1,null]}',
    "plan": '{"image":"i"}',
    "image": "i",
    "has_upload": 1,
    "max_attempts": 3,
    "retry_of": "before",
    "version": 9,
}
"""What is the same in all jobs."""
JOBS: dict[str, dict[str, Any]] = {
    "queued": {"state": "queued", "reason_code": "waiting_for_slot", "reason_message": "m", "not_before": 77},
    "cancelled": {"state": "queued", "cancel_requested_time": 78},
    "starting": {"state": "starting"},
    "running": {"state": "running"},
    "stopping": {"state": "running", "stop_code": "deadline_exceeded"},
    "succeeded": {"state": "completed", "end_time": 12, "conclusion": "succeeded", "result": '"r"'},
    "failed": {"state": "completed", "end_time": 12, "conclusion": "failed", "error": "e"},
    "stopped": {"state": "completed", "end_time": 12, "conclusion": "cancelled", "stop_code": "cancelled"},
    "late": {"state": "completed", "end_time": 12, "conclusion": "timed_out", "stop_code": "deadline_exceeded"},
    "errored": {
        "state": "completed",
        "end_time": 12,
        "conclusion": "errored",
        "reason_code": "container_lost",
        "reason_message": "gone",
    },
}
"""Jobs in every state."""
ENDED = {"end_time": 12, "conclusion": "succeeded", "exit_code": 0, "log_bytes": 6, "log_sha256": "ab"}
ATTEMPTS: list[dict[str, Any]] = [
    {"job_id": "starting", "number": 1, "runtime": "docker"},
    {"job_id": "running", "number": 1, "runtime": "process", "start_time": 11, "log_bytes": 5},
    {"job_id": "stopping", "number": 1, "runtime": "docker", "start_time": 11},
    {"job_id": "succeeded", "number": 1, "runtime": "docker", "start_time": 11, **ENDED},
]
STEP = {"name": "s", "status": "failed", "start_time": 2, "log_offset": 3, "exit_code": 4, "end_time": 5}
STEPS: list[dict[str, Any]] = [{"job_id": "succeeded", "attempt": 1, "position": 0, **STEP}]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "migrations", lambda: SCRIPTS)


def made(path: Path, version: int) -> None:
    """Make a database as a program of this schema version has left it, with all of JOBS in it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript("".join(SCRIPTS[:version]))
        jobs = [ASKED | own | {"id": job_id} for job_id, own in JOBS.items()]
        for table, rows in {"jobs": jobs, "attempts": ATTEMPTS, "steps": STEPS}.items():
            for row in rows:
                names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
                database.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", row)
        database.execute("UPDATE lease SET fence = 41")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        return [f"version {version}", *database.iterdump()]


async def opened(path: Path) -> dict[str, Job]:
    """Open the database with this program, and return all its jobs."""
    storage = sqlite_storage(path)
    await storage.open()
    try:
        return {job.id: job for job in await storage.jobs.list_jobs(JobFilter(), limit=100)}
    finally:
        await storage.close()


@pytest.mark.parametrize("version", [*OLDER, NEWEST])
async def test_every_value_is_there_after_the_migration(tmp_path: Path, version: int) -> None:
    path = tmp_path / "jobs.db"
    made(path, version)
    jobs = await opened(path)
    assert set(jobs) == set(JOBS)
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        for row in database.execute("SELECT * FROM jobs"):
            expected = ASKED | JOBS[row["id"]] | {"id": row["id"]}
            assert {name: row[name] for name in expected} == expected
            assert row["attempt"] == 1
        for table, rows in {"attempts": ATTEMPTS, "steps": STEPS}.items():
            stored = [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY job_id")]
            for expected in rows:
                assert any(row == row | expected for row in stored), expected
        assert database.execute("SELECT fence, holder FROM lease").fetchone()[:] == (41, None)
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert database.execute("SELECT count(*) FROM later").fetchone()[0] == (len(JOBS) if version < NEWEST else 0)


@pytest.mark.parametrize("version", OLDER)
async def test_a_migration_that_fails_anywhere_leaves_the_older_database_whole(tmp_path: Path, version: int) -> None:
    path = tmp_path / "jobs.db"
    made(path, version)
    before = dump(path)
    statements = list(schema._statements(SCRIPTS[version]))
    assert statements
    for number in range(len(statements) + 1):
        broken = [*SCRIPTS[:version], "\n".join([*statements[:number], "SELECT no_such_function();"])]
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as connection,
            pytest.raises(sqlite3.OperationalError, match="no_such_function"),
        ):
            migrate(connection, broken)
        assert dump(path) == before, f"after statement {number}"
    assert set(await opened(path)) == set(JOBS)


KILLED = """
import os, signal, sqlite3, sys
from ci_persistence.sqlite import schema

version, number, scripts = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
statements = list(schema._statements(scripts[version]))
script = "".join([*statements[:number], "\\nSELECT die();\\n", *statements[number:]])

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # So that pages reach the disk before the commit.
connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
schema.migrate(connection, [*scripts[:version], script])
"""


@pytest.mark.parametrize("version", OLDER)
async def test_a_program_killed_in_the_middle_of_a_migration(tmp_path: Path, version: int) -> None:
    path = tmp_path / "jobs.db"
    made(path, version)
    before = dump(path)
    last = len(list(schema._statements(SCRIPTS[version])))
    for number in (last // 2, last):
        command = [sys.executable, "-c", KILLED, str(path), str(version), str(number), *SCRIPTS]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
        assert dump(path) == before
    assert set(await opened(path)) == set(JOBS)


@pytest.mark.parametrize("version", OLDER)
async def test_several_may_open_an_older_database_at_once(tmp_path: Path, version: int) -> None:
    path = tmp_path / "jobs.db"
    made(path, version)
    assert all(set(jobs) == set(JOBS) for jobs in await asyncio.gather(*(opened(path) for _ in range(6))))


async def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    made(path, NEWEST)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {NEWEST + 1}")
    before = dump(path)
    with pytest.raises(Unavailable, match=f"schema version {NEWEST + 1}, and this version .* knows only {NEWEST}"):
        await opened(path)
    assert dump(path) == before


async def test_a_database_of_an_unreleased_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    made(path, NEWEST)
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE jobs ADD COLUMN earlier_attempts TEXT")
        database.execute("PRAGMA user_version = 4")
    before = dump(path)
    with pytest.raises(
        Unavailable, match=r"a version of the program before 0\.1\.0, .* move it and its data directory"
    ):
        await opened(path)
    assert dump(path) == before


async def test_a_database_that_lacks_a_column_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    made(path, NEWEST)
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE lease RENAME COLUMN renewal TO renewed")
    with pytest.raises(Unavailable, match=rf"{path} .* lacks lease\.renewal; .* CI_DB_PATH"):
        await opened(path)


async def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (id)")
    before = dump(path)
    with pytest.raises(Unavailable, match=f"{path} is not one of ci-server's; CI_DB_PATH"):
        await opened(path)
    assert dump(path) == before
