"""Backup and restore, on an installation whose jobs and files the test makes by hand."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ci_common.errors import Unavailable
from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.run_directory.output import LogTimes
from ci_common.run_directory.stored import StoredMark, read_mark, write_mark
from ci_common.settings import Settings
from ci_common.sharing.audit import command_entry
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_controller.backup.manifest import Backup, BackupFault
from ci_controller.backup.restore import restore_backup
from ci_controller.backup.take import take_backup
from ci_persistence.stores.audit import AuditFilter
from tests.helpers.jobs import NOON
from tests.helpers.keys import a_key
from tests.helpers.service import zipped
from tests.unit.controller.backup.backups import Place, quiet, restored, sha


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
    async with restored(tmp_path, target) as (done, settings, storage):
        data = DataDirectory(settings.data_path)
        assert (done.jobs, done.abandoned.ended) == (3, 0)
        for job in jobs:
            assert everything(await storage.jobs.get(job.id)) == everything(job)
        assert data.upload(jobs[0].id).read_bytes() == upload
        assert data.run(jobs[0].id, 1).log.read_bytes() == b"one\xff\n"
        assert LogTimes(data.run(jobs[0].id, 1).times).time_of(0) == NOON
        assert [data.run(jobs[1].id, n).log.read_bytes() for n in (1, 2)] == [b"first", b"second"]
        assert settings.db_path.stat().st_mode & 0o077 == 0
        assert data.path.stat().st_mode & 0o077 == 0
        assert sorted(p.name for p in data.path.iterdir()) == ["incoming", "jobs"]
        assert sorted(p.name for p in settings.db_path.parent.glob("*restoring*")) == []


async def test_the_logs_of_services_come_back(place: Place, target: Path, tmp_path: Path) -> None:
    job = await place.job(State.COMPLETED, b"second", earlier=b"first")
    for attempt in (1, 2):
        run = DataDirectory(place.settings.data_path).run(job.id, attempt)
        run.services.mkdir()
        run.service_log("db").write_bytes(b"ready %d" % attempt)
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target) as (_, settings, _storage):
        runs = [DataDirectory(settings.data_path).run(job.id, attempt) for attempt in (1, 2)]
        assert [run.service_log("db").read_bytes() for run in runs] == [b"ready 1", b"ready 2"]


async def test_an_installation_that_is_restored_is_another_one(place: Place, target: Path, tmp_path: Path) -> None:
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target) as (done, settings, storage):
        installation = await storage.installations.get()
        assert installation.id == done.installation_id != (await place.storage.installations.get()).id
        assert installation.data_path == str(settings.data_path)
        assert await storage.leases.acquire(this_process(), 10) is not None, "no controller leads"


async def test_what_had_not_completed_is_ended_and_says_why(place: Place, target: Path, tmp_path: Path) -> None:
    states = (State.QUEUED, State.STARTING, State.RUNNING)
    jobs = [await place.job(state, b"so far" if state is State.RUNNING else b"") for state in states]
    manifest = await take_backup(place.settings, target, quiet)
    assert manifest.unfinished == 3
    async with restored(tmp_path, target) as (done, _, storage):
        assert (done.abandoned.ended, done.abandoned.queued) == (3, 0)
        assert await storage.queue.queued() == await storage.queue.active() == []
        for job, log in zip(jobs, (b"", b"", b"so far"), strict=True):
            ended = await storage.jobs.get(job.id)
            assert (ended.conclusion, ended.log_bytes, ended.log_sha256) == (Conclusion.ERRORED, len(log), sha(log))
            assert ended.reason is not None
            assert ended.reason.code is ReasonCode.RESTORED
            assert ended.error == ended.reason.message


async def test_the_queue_is_kept_where_that_is_asked_for(place: Place, target: Path, tmp_path: Path) -> None:
    job = await place.job(State.QUEUED, upload=zipped({"src/a.txt": "hello"}))
    await place.job(State.RUNNING)
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target, keep_queue=True) as (done, settings, storage):
        assert (done.abandoned.ended, done.abandoned.queued) == (1, 1)
        assert [queued.id for queued in await storage.queue.queued()] == [job.id]
        workspace = DataDirectory(settings.data_path).run(job.id, 1).workspace
        assert (workspace / "src" / "a.txt").read_text() == "hello"


@pytest.mark.parametrize("keep", [False, True])
async def test_keys_are_revoked_unless_they_are_to_be_kept(
    place: Place, target: Path, tmp_path: Path, *, keep: bool
) -> None:
    """The backup does not know which of them were revoked after it was taken."""
    valid, revoked = a_key()[0], a_key(revoked_time=utc_now())[0]
    for key in (valid, revoked):
        await place.storage.keys.add(key)
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target, keep_keys=keep) as (done, _, storage):
        assert done.revoked_keys == (0 if keep else 1)
        known = await storage.keys.get_many([valid.id, revoked.id])
        assert known[revoked.id].revoked_time == revoked.revoked_time
        assert (known[valid.id].ended(utc_now()) is None) == keep
        assert await storage.keys.any(), "so the server lets no one in without a key"
    assert (await place.storage.keys.get(valid.id)) == valid


async def test_the_audit_goes_on_where_it_was(place: Place, target: Path, tmp_path: Path) -> None:
    await place.storage.audit.add([command_entry("create_key", "ci keys create --admin")] * 3)
    noted = (await place.storage.audit.ends()).last
    await take_backup(place.settings, target, quiet)
    async with restored(tmp_path, target) as (_, _, storage):
        verified = await storage.audit.verify(noted)
        assert (verified.broken, verified.entries) == (None, 4)
        (latest,) = await storage.audit.list(AuditFilter(), limit=1)
        assert (latest.entry.action, latest.entry.address) == ("restore_backup", "command line")
        assert str(target) in latest.entry.request


async def test_what_is_there_is_never_replaced(place: Place, target: Path) -> None:
    await take_backup(place.settings, target, quiet)
    before = sorted(place.data.path.rglob("*"))
    with pytest.raises(BackupFault, match=r"ci_jobs\.db exists already, .* move it away"):
        await restore_backup(place.settings, target, quiet, keep_queue=False)
    with pytest.raises(BackupFault, match="exists already"):
        await take_backup(place.settings, target, quiet)
    with pytest.raises(BackupFault, match="outside of it"):
        await take_backup(place.settings, place.data.path / "backup", quiet)
    other = place.settings.model_copy(update={"db_path": target.parent / "other.db", "data_dir": place.data.path})
    with pytest.raises(BackupFault, match=r"ci_jobs\.data/\w+ exists already"):
        await restore_backup(other, target, quiet, keep_queue=False)
    assert sorted(place.data.path.rglob("*")) == before


async def test_no_database_is_made_by_looking_for_one(tmp_path: Path, target: Path) -> None:
    with pytest.raises(Unavailable, match="there is no database at"):
        await take_backup(Settings(db_path=tmp_path / "none.db"), target, quiet)
    assert list(tmp_path.iterdir()) == []


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
    ("its SHA-256 differs", lambda backup: cut(backup.database("sqlite"))),
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


async def test_a_log_in_the_artifact_store_is_not_missed(place: Place, target: Path, tmp_path: Path) -> None:
    """Also where the database was copied before the attempt had ended, and its log moved before it could be copied."""
    moved = await place.job(State.COMPLETED, b"second", earlier=b"first")
    running = await place.job(State.RUNNING, b"what it wrote")
    lost = await place.job(State.COMPLETED, b"lost")
    logs = {(moved.id, 1): b"first", (moved.id, 2): b"second", (running.id, 1): b"what it wrote"}
    for (job_id, attempt), log in logs.items():
        run = place.data.run(job_id, attempt)
        write_mark(run, StoredMark(len(log), sha(log)))
        run.log.unlink()
        run.times.unlink(missing_ok=True)
    place.data.run_of(lost).log.unlink()
    manifest = await take_backup(place.settings, target, quiet)
    assert manifest.damaged == (lost.id,)
    async with restored(tmp_path, target) as (_, settings, storage):
        data = DataDirectory(settings.data_path)
        for (job_id, attempt), log in logs.items():
            run = data.run(job_id, attempt)
            assert not run.log.exists()
            assert read_mark(run.stored) == StoredMark(len(log), sha(log))
        ended = await storage.jobs.get(running.id)
        assert (ended.state, ended.log_bytes, ended.log_sha256) == (
            State.COMPLETED, len(b"what it wrote"), sha(b"what it wrote"),
        )  # fmt: skip
