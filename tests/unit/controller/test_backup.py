"""Backup and restore, on an installation whose jobs and files the test makes by hand."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import Unavailable
from ci_common.jobs import Attempt, Conclusion, Job, ReasonCode, State
from ci_common.layout import DataDirectory
from ci_common.logs import LogTimes
from ci_common.processes import this_process
from ci_common.settings import Settings
from ci_common.times import utc_now
from ci_controller.backup import files, taking
from ci_controller.backup.manifest import Backup, BackupFault, Manifest
from ci_controller.backup.restoring import Restored, restore_backup
from ci_controller.backup.taking import take_backup
from ci_controller.possession import take_possession
from ci_persistence.repository import Lease
from ci_persistence.sqlite import SQLiteJobRepository
from tests.helpers.installation import ROOT
from tests.helpers.jobs import NOON, PLENTY, new_job
from tests.helpers.service import zipped

PLAN = {"image": "i", "steps": [{"name": "s", "shell": "true"}], "timeout": 60.0}


def quiet(_: str) -> None:
    """Say nothing."""


@dataclass
class Place:
    """An installation of rows and files, without a controller."""

    settings: Settings
    data: DataDirectory
    repository: SQLiteJobRepository
    lease: Lease

    async def job(self, state: State, log: bytes | None = b"", *, upload: bytes | None = None, **more: Any) -> Job:
        """Store a job in `state`, with these files."""
        described = {} if upload is None else {"upload": {"sha256": hashlib.sha256(upload).hexdigest()}}
        job = await self.repository.add(
            new_job(type="container", plan=PLAN, payload=described, has_upload=upload is not None, max_attempts=2),
            max_queued=PLENTY,
        )
        if upload is not None:
            self.data.job(job.id).mkdir()
            self.data.upload(job.id).write_bytes(upload)
        attempts = [log] if state is not State.QUEUED else []
        earlier = more.pop("earlier", None)
        job = await self._start(job, state)
        if earlier is not None:
            ended = Attempt(
                number=1, conclusion=Conclusion.FAILED, end_time=NOON, log_bytes=len(earlier), log_sha256=sha(earlier)
            )
            job = await self.repository.update(
                job, self.lease, state=State.QUEUED, attempt=2, earlier_attempts=(ended,), start_time=None, runtime=None
            )
            job = await self._start(job, state)
            attempts = [earlier, log]
        for number, content in enumerate(attempts, start=1):
            if content is not None:
                run = self.data.run(job.id, number)
                run.path.mkdir(parents=True)
                run.log.write_bytes(content)
                LogTimes(run.times).append(NOON, len(content))
                if number == job.attempt and state is not State.COMPLETED:
                    (run.path / "workspace").mkdir()
                    (run.path / "gate").touch()
        if state is State.COMPLETED:
            job = await self._complete(job, log or b"", **more)
        return job

    async def _start(self, job: Job, state: State) -> Job:
        if state is State.QUEUED:
            return job
        job = await self.repository.update(job, self.lease, state=State.STARTING, runtime="docker")
        if state is State.STARTING:
            return job
        return await self.repository.update(job, self.lease, state=State.RUNNING, start_time=NOON)

    async def _complete(self, job: Job, log: bytes, **more: Any) -> Job:
        changes = {"conclusion": Conclusion.FAILED, "exit_code": 3, "log_bytes": len(log), "log_sha256": sha(log)}
        end = NOON + timedelta(seconds=1)
        return await self.repository.update(job, self.lease, state=State.COMPLETED, end_time=end, **changes | more)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@asynccontextmanager
async def placed(directory: Path) -> AsyncIterator[Place]:
    settings = Settings(db_path=directory / "ci_jobs.db")
    data = DataDirectory(settings.data_path)
    data.create()
    repository = SQLiteJobRepository(settings.db_path)
    await repository.open()
    try:
        await take_possession(repository, data, utc_now, patience=1)
        lease = await repository.acquire(this_process(), 600)
        assert lease is not None
        yield Place(settings, data, repository, lease)
    finally:
        await repository.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with placed(tmp_path) as place:
        yield place


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@asynccontextmanager
async def restored(
    tmp_path: Path, source: Path, *, keep_queue: bool = False
) -> AsyncIterator[tuple[Restored, Settings, SQLiteJobRepository]]:
    settings = Settings(db_path=tmp_path / "there" / "ci_jobs.db")
    done = await restore_backup(settings, source, quiet, keep_queue=keep_queue)
    repository = SQLiteJobRepository(settings.db_path)
    await repository.open()
    try:
        yield done, settings, repository
    finally:
        await repository.close()


def everything(job: Job) -> dict[str, Any]:
    return {field.name: getattr(job, field.name) for field in fields(Job)}


async def test_completed_jobs_come_back_as_they_were(place: Place, target: Path, tmp_path: Path) -> None:
    upload = zipped({"a": "b"})
    jobs = [
        await place.job(State.COMPLETED, b"one\xff\n", upload=upload),
        await place.job(State.COMPLETED, b"second", earlier=b"first"),
        await place.job(State.COMPLETED, None, conclusion=Conclusion.CANCELLED, exit_code=None),
    ]
    manifest = await take_backup(place.settings, target, quiet)
    assert (manifest.jobs, manifest.unfinished, manifest.damaged, manifest.files) == (3, 0, (), 7)
    async with restored(tmp_path, target) as (done, settings, repository):
        data = DataDirectory(settings.data_path)
        assert (done.jobs, done.settled.ended) == (3, 0)
        for job in jobs:
            assert everything(await repository.get(job.id)) == everything(job)
        assert data.upload(jobs[0].id).read_bytes() == upload
        assert data.run(jobs[0].id, 1).log.read_bytes() == b"one\xff\n"
        assert LogTimes(data.run(jobs[0].id, 1).times).time_of(0) == NOON
        assert [data.run(jobs[1].id, n).log.read_bytes() for n in (1, 2)] == [b"first", b"second"]
        assert settings.db_path.stat().st_mode & 0o077 == 0
        assert data.path.stat().st_mode & 0o077 == 0
        assert sorted(p.name for p in data.path.iterdir()) == ["incoming", "jobs"]
        assert sorted(p.name for p in settings.db_path.parent.glob("*restoring*")) == []


async def test_an_installation_that_is_restored_is_another_one(place: Place, target: Path, tmp_path: Path) -> None:
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target) as (done, settings, repository):
        installation = await repository.installation()
        assert installation.id == done.installation_id != (await place.repository.installation()).id
        assert installation.data_path == str(settings.data_path)
        assert await repository.acquire(this_process(), 10) is not None, "nobody leads"


async def test_what_had_not_completed_is_ended_and_says_why(place: Place, target: Path, tmp_path: Path) -> None:
    states = (State.QUEUED, State.STARTING, State.RUNNING)
    jobs = [await place.job(state, b"so far" if state is State.RUNNING else b"") for state in states]
    manifest = await take_backup(place.settings, target, quiet)
    assert manifest.unfinished == 3
    async with restored(tmp_path, target) as (done, _, repository):
        assert (done.settled.ended, done.settled.queued) == (3, 0)
        assert await repository.queued() == await repository.active() == []
        for job, log in zip(jobs, (b"", b"", b"so far"), strict=True):
            ended = await repository.get(job.id)
            assert (ended.conclusion, ended.log_bytes, ended.log_sha256) == (Conclusion.ERRORED, len(log), sha(log))
            assert ended.reason is not None
            assert ended.reason.code is ReasonCode.RESTORED
            assert ended.error == ended.reason.message


async def test_the_queue_is_kept_where_that_is_asked_for(place: Place, target: Path, tmp_path: Path) -> None:
    job = await place.job(State.QUEUED, upload=zipped({"src/a.txt": "hello"}))
    await place.job(State.RUNNING)
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target, keep_queue=True) as (done, settings, repository):
        assert (done.settled.ended, done.settled.queued) == (1, 1)
        assert [queued.id for queued in await repository.queued()] == [job.id]
        workspace = DataDirectory(settings.data_path).run(job.id, 1).workspace
        assert (workspace / "src" / "a.txt").read_text() == "hello"


async def test_what_is_there_is_never_replaced(place: Place, target: Path) -> None:
    await take_backup(place.settings, target, quiet)
    before = sorted(place.data.path.rglob("*"))
    with pytest.raises(BackupFault, match=r"ci_jobs\.db is there already, .* move it away"):
        await restore_backup(place.settings, target, quiet, keep_queue=False)
    with pytest.raises(BackupFault, match="there already"):
        await take_backup(place.settings, target, quiet)
    with pytest.raises(BackupFault, match="outside of it"):
        await take_backup(place.settings, place.data.path / "backup", quiet)
    other = place.settings.model_copy(update={"db_path": target.parent / "other.db", "data_dir": place.data.path})
    with pytest.raises(BackupFault, match=r"ci_jobs\.data/\w+ is there already"):
        await restore_backup(other, target, quiet, keep_queue=False)
    assert sorted(place.data.path.rglob("*")) == before


async def test_no_database_is_made_by_looking_for_one(tmp_path: Path, target: Path) -> None:
    with pytest.raises(Unavailable, match="there is no database at"):
        await take_backup(Settings(db_path=tmp_path / "none.db"), target, quiet)
    assert list(tmp_path.iterdir()) == []


async def test_commits_go_on_while_the_database_is_copied(place: Place, target: Path, monkeypatch: Any) -> None:
    """And none of them makes the copying begin anew, or gets into the copy."""
    for _ in range(40):
        await place.job(State.QUEUED, upload=None)
    monkeypatch.setattr("ci_persistence.copies._PAGES_AT_ONCE", 1)
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
    with closing(sqlite3.connect(Backup(target).database)) as copy:
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
    async with restored(tmp_path, target) as (_, _, repository):
        assert (await repository.get(job.id)).log_bytes == 1000


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

    monkeypatch.setattr(taking, "copy_job", copy_job)
    manifest = await take_backup(place.settings, target, quiet)
    assert manifest.damaged == ((gone.id,) if still_there else ())
    async with restored(tmp_path, target) as (done, _, repository):
        assert set(await repository.get_many([kept.id, gone.id])) == {kept.id} | ({gone.id} if still_there else set())
        assert done.jobs == manifest.jobs == 1 + still_there


async def test_what_a_job_left_in_place_of_its_log_is_not_followed(place: Place, target: Path) -> None:
    job = await place.job(State.COMPLETED, None, log_bytes=0, log_sha256=sha(b""))
    run = place.data.run(job.id, 1)
    run.path.mkdir(parents=True)
    run.log.symlink_to("/etc/passwd")
    manifest = await take_backup(place.settings, target, quiet)
    assert (manifest.damaged, manifest.files) == ((), 0)
    assert not Backup(target).data.run(job.id, 1).log.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def newer(backup: Backup) -> None:
    backup.manifest.write_text(json.dumps(json.loads(backup.manifest.read_text()) | {"format": 99}))


SPOILT: list[tuple[str, Callable[[Backup], object]]] = [
    ("no backup", lambda backup: backup.manifest.unlink()),
    ("cannot be read", lambda backup: backup.manifest.write_text("{")),
    ("with that version", newer),
    ("its SHA-256 is another", lambda backup: cut(backup.database)),
    ("log of attempt 1", lambda backup: [cut(path) for path in backup.path.glob("data/jobs/*/1/log")]),
    ("upload is not the one", lambda backup: [cut(path) for path in backup.path.glob("data/jobs/*/upload.zip")]),
]


@pytest.mark.parametrize(("told", "change"), SPOILT, ids=[told for told, _ in SPOILT])
async def test_a_spoilt_backup_is_not_restored(
    place: Place, target: Path, tmp_path: Path, told: str, change: Callable[[Backup], object]
) -> None:
    await place.job(State.COMPLETED, b"log", upload=b"zip")
    await take_backup(place.settings, target, quiet)
    change(Backup(target))
    there = tmp_path / "there"
    with pytest.raises(BackupFault, match=told):
        await restore_backup(Settings(db_path=there / "ci_jobs.db"), target, quiet, keep_queue=False)
    left = [path for path in there.rglob("*") if path.is_file()] if there.exists() else []
    assert left == []


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
    killed_at("taking", function, number, call, place.settings.db_path, target)
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
    killed_at("restoring", function, number, call, there, target)
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
        assert go_on.wait(20)
        return files.copy_job(*args)

    monkeypatch.setattr(taking, "copy_job", copy_job)
    import asyncio

    first: asyncio.Task[Manifest] = asyncio.create_task(take_backup(place.settings, target, quiet))
    assert await asyncio.to_thread(begun.wait, 20)
    with pytest.raises(BackupFault, match="under way"):
        await take_backup(place.settings, target, quiet)
    go_on.set()
    assert (await first).jobs == 1
