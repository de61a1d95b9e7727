"""An older copy of the database is put back by hand, beside a data directory that went on: nothing runs again."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.run_directory.layout import KEPT
from tests.helpers.installation import Installation, completed, nothing_left, reached
from tests.helpers.waiting import eventually


def copy_of(installation: Installation) -> Path:
    """Copy the database as it is now, as `sqlite3 .backup` does."""
    copy = installation.directory / "older.db"
    with closing(sqlite3.connect(installation.settings.db_path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def put_back(installation: Installation, copy: Path) -> None:
    path = installation.settings.db_path
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)


async def ended(installation: Installation, job: Job) -> Job:
    """Run a controller on what is there, and return the job once it has completed and is cleared."""
    async with installation.storage() as storage, installation.controller() as parts:
        result = await completed(storage, job.id)
        await eventually(lambda: installation.files_left(job) <= KEPT, "nothing but its log and its records is left")
        await nothing_left(parts.runtimes[installation.runtime])
        return result


async def test_a_job_that_had_completed_is_not_run_again(installation: Installation) -> None:
    job = await installation.submit("echo ran; exit 3")
    older = copy_of(installation)
    assert (await ended(installation, job)).exit_code == 3
    put_back(installation, older)
    again = await ended(installation, job)
    assert installation.log_of(job) == b"ran\n"
    assert (again.conclusion, again.log_bytes) == (Conclusion.ERRORED, 4)
    assert again.reason is not None
    assert again.reason.code is ReasonCode.RESTORED


@pytest.mark.parametrize("ends_before", [True, False])
async def test_a_job_that_runs_is_taken_up_with_its_true_result(installation: Installation, ends_before: bool) -> None:
    job = await installation.submit("echo ran; while [ ! -e go ]; do sleep 0.02; done; exit 3")
    older = copy_of(installation)
    run = installation.data.run(job.id, 1)
    first = installation.start_crashing_controller("no_such_call/1/before")
    async with installation.storage() as storage:
        await reached(storage, job.id, State.RUNNING)
    await eventually(lambda: run.log_size() == 4, "its code has begun")
    first.kill()
    await asyncio.to_thread(first.wait, 60)
    put_back(installation, older)

    if ends_before:
        (run.workspace / "go").touch()
        await eventually(lambda: run.read_exit() is not None, "the script has ended")
    async with installation.storage() as storage, installation.controller() as parts:
        await reached(storage, job.id, State.RUNNING)
        if not ends_before:
            (run.workspace / "go").touch()
        again = await completed(storage, job.id)
        await nothing_left(parts.runtimes[installation.runtime])
    assert installation.log_of(job) == b"ran\n"
    assert (again.conclusion, again.exit_code, again.log_bytes) == (Conclusion.FAILED, 3, 4)
