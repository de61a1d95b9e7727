"""What happens while a backup is taken, and what is left of backups and restores that are killed."""

import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.backup import files, take
from ci_controller.backup.manifest import Backup, BackupFault, Manifest
from ci_controller.backup.restore import restore_backup
from ci_controller.backup.take import take_backup
from tests.helpers.installation import ROOT
from tests.helpers.waiting import PATIENCE
from tests.unit.controller.backup.backups import Place, quiet, restored


async def test_commits_go_on_while_the_database_is_copied(place: Place, target: Path, monkeypatch: Any) -> None:
    """And none of them makes the copying begin again, or gets into the copy."""
    for _ in range(40):
        await place.job(State.QUEUED, upload=None)
    monkeypatch.setattr("ci_persistence.sqlite.copies._PAGES_AT_ONCE", 1)
    steps: list[str] = []

    def say(line: str) -> None:
        steps.append(line)
        with closing(sqlite3.connect(place.settings.db_path, timeout=10)) as other:
            other.execute("UPDATE jobs SET error = ?, version = version + 1", [line])
            other.commit()

    def until_copied(line: str) -> None:
        if line.startswith("database"):
            say(line)

    manifest = await take_backup(place.settings, target, until_copied)
    assert manifest.jobs == 40
    total = int(steps[0].split()[3])
    assert len(steps) <= total + 1
    with closing(sqlite3.connect(Backup(target).database("sqlite"))) as copy:
        assert copy.execute("SELECT DISTINCT error FROM jobs").fetchall() == [(None,)]


async def test_a_log_that_grows_is_copied_as_far_as_it_had_come(
    place: Place, target: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    job = await place.job(State.RUNNING, b"x" * 1000)
    copy_some = files._copy_some

    def growing(reading: int, writing: int, at: int, count: int) -> int:
        if count == 1000:
            with place.data.run(job.id, 1).log.open("ab") as log:
                log.write(b"more")
        return copy_some(reading, writing, at, count)

    monkeypatch.setattr(files, "_copy_some", growing)
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target) as (_, _, storage):
        assert (await storage.jobs.get(job.id)).log_bytes == 1000


@pytest.mark.parametrize("still_there", [False, True])
async def test_a_job_deleted_in_between_is_left_out_and_a_damaged_one_is_named(
    place: Place, target: Path, tmp_path: Path, monkeypatch: Any, still_there: bool
) -> None:
    kept, gone = [await place.job(State.COMPLETED, log) for log in (b"kept", b"gone")]

    def copy_job(job: Job, *directories: DataDirectory) -> files.Copied:
        if job.id == gone.id:
            shutil.rmtree(place.data.job(gone.id))
            if not still_there:
                with closing(sqlite3.connect(place.settings.db_path)) as other:
                    other.execute("DELETE FROM jobs WHERE id = ?", [gone.id])
                    other.commit()
        return files.copy_job(job, *directories)

    monkeypatch.setattr(take, "copy_job", copy_job)
    manifest = await take_backup(place.settings, target, quiet)
    assert manifest.damaged == ((gone.id,) if still_there else ())
    async with restored(tmp_path, target) as (done, _, storage):
        assert set(await storage.jobs.get_many([kept.id, gone.id])) == {kept.id} | ({gone.id} if still_there else set())
        assert done.jobs == manifest.jobs == 1 + still_there


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from ci_common.settings import Settings
from ci_controller.backup import {module} as module
done = 0
original = module.{function}
def deadly(*args, **kwargs):
    global done
    done += 1
    if done == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)
module.{function} = deadly
asyncio.run({call})
"""


def killed_at(module: str, function: str, number: int, call: str, *args: Path) -> None:
    code = KILLED.format(module=module, function=function, number=number, call=call)
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize(("function", "number"), [("copy_job", 2), ("sha256_of", 1)])
async def test_a_backup_that_was_killed_is_none(
    place: Place, target: Path, tmp_path: Path, function: str, number: int
) -> None:
    jobs = [await place.job(State.COMPLETED, b"log") for _ in range(3)]
    call = "module.take_backup(Settings(db_path=Path(sys.argv[1])), Path(sys.argv[2]), lambda line: None)"
    killed_at("take", function, number, call, place.settings.db_path, target)
    draft = target.with_name("backup.incomplete")
    assert draft.is_dir()
    assert not target.exists()
    with pytest.raises(BackupFault, match="interrupted"):
        await restore_backup(Settings(db_path=tmp_path / "no" / "ci_jobs.db"), draft, quiet, keep_queue=False)
    manifest = await take_backup(place.settings, target, quiet)
    assert manifest.jobs == len(jobs)
    assert not draft.exists()


@pytest.mark.parametrize(("function", "number"), [("copy_job", 2), ("_put_in_place", 1)])
async def test_a_restore_that_was_killed_can_be_repeated(
    place: Place, target: Path, tmp_path: Path, function: str, number: int
) -> None:
    jobs = [await place.job(State.COMPLETED, b"log") for _ in range(3)]
    await take_backup(place.settings, target, quiet)
    there = tmp_path / "there" / "ci_jobs.db"
    call = "module.restore_backup(Settings(db_path=Path(sys.argv[1])), Path(sys.argv[2]), print, keep_queue=False)"
    killed_at("restore", function, number, call, there, target)
    assert not there.exists()
    async with restored(tmp_path, target) as (done, settings, _):
        assert done.jobs == len(jobs)
        assert sorted(path.name for path in settings.db_path.parent.iterdir()) == [
            *("ci_jobs.data", "ci_jobs.db", "ci_jobs.db-shm", "ci_jobs.db-wal")
        ]


async def test_two_backups_to_one_place(place: Place, target: Path, monkeypatch: Any) -> None:
    await place.job(State.COMPLETED)
    begun, go_on = threading.Event(), threading.Event()

    def copy_job(*args: Any) -> files.Copied:
        begun.set()
        assert go_on.wait(PATIENCE)
        return files.copy_job(*args)

    monkeypatch.setattr(take, "copy_job", copy_job)
    import asyncio

    first: asyncio.Task[Manifest] = asyncio.create_task(take_backup(place.settings, target, quiet))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    with pytest.raises(BackupFault, match="is running"):
        await take_backup(place.settings, target, quiet)
    go_on.set()
    assert (await first).jobs == 1
