"""Backup and restore of an installation on PostgreSQL."""

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_common.errors import Unavailable
from ci_common.jobs import Conclusion, ReasonCode, State
from ci_common.owner_file import WrongDataDirectory
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_controller.backup.manifest import Backup, BackupFault
from ci_controller.backup.restore import restore_backup
from ci_controller.backup.take import take_backup
from ci_controller.ownership import AdoptionRefused, plan_adoption
from ci_persistence.job_lists import JobFilter
from ci_persistence.open import open_installation
from ci_persistence.postgresql import programs
from ci_persistence.postgresql.dumps import Dump, Dumps
from tests.helpers.jobs import PLENTY, new_job
from tests.helpers.postgresql.server import PostgreSQLServer
from tests.helpers.service import zipped
from tests.unit.controller.backup.backups import Place, placed, quiet, restored, settings_in
from tests.unit.controller.backup.test_backup import everything


@pytest.fixture
async def place(tmp_path: Path, postgresql_url: str) -> AsyncIterator[Place]:
    async with placed(tmp_path, postgresql_url) as place:
        yield place


async def test_jobs_and_files_come_back_as_they_were(
    place: Place, target: Path, tmp_path: Path, empty_postgresql_url: str
) -> None:
    upload = zipped({"a": "b"})
    completed = [
        await place.job(State.COMPLETED, b"one\xff\n", upload=upload),
        await place.job(State.COMPLETED, b"second", earlier=b"first"),
    ]
    running = await place.job(State.RUNNING, b"so far")
    manifest = await take_backup(place.settings, target, quiet)
    assert (manifest.database, manifest.jobs, manifest.unfinished, manifest.left_out) == ("postgresql", 3, 1, ())
    assert stat.S_IMODE(Backup(target).database("postgresql").stat().st_mode) == 0o600
    async with restored(tmp_path, target, url=empty_postgresql_url) as (done, settings, storage):
        data = DataDirectory(settings.data_path)
        assert (done.jobs, done.abandoned.ended) == (3, 1)
        for job in completed:
            assert everything(await storage.jobs.get(job.id)) == everything(job)
        assert data.upload(completed[0].id).read_bytes() == upload
        assert [data.run(completed[1].id, n).log.read_bytes() for n in (1, 2)] == [b"first", b"second"]
        ended = await storage.jobs.get(running.id)
        assert (ended.conclusion, ended.log_bytes) == (Conclusion.ERRORED, 6)
        assert ended.reason is not None
        assert ended.reason.code is ReasonCode.RESTORED
        installation = await storage.installations.get()
        assert installation.id == done.installation_id != manifest.installation_id
        assert installation.data_path == str(settings.data_path)
        assert await storage.leases.acquire(this_process(), 10) is not None, "no controller leads"
    async with open_installation(settings):
        pass


async def test_jobs_that_come_or_go_during_a_backup(
    place: Place, target: Path, tmp_path: Path, empty_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = [await place.job(State.COMPLETED, b"log") for _ in range(2)]
    take = Dumps.take

    async def then_change(dumps: Dumps, path: Path) -> Dump:
        dump = await take(dumps, path)
        await place.storage.retention.delete([gone.id])
        await place.storage.jobs.add(new_job(), max_queued=PLENTY)
        return dump

    monkeypatch.setattr(Dumps, "take", then_change)
    manifest = await take_backup(place.settings, target, quiet)
    assert (manifest.jobs, manifest.left_out, manifest.damaged) == (1, (gone.id,), ())
    async with restored(tmp_path, target, url=empty_postgresql_url) as (done, _, storage):
        assert done.jobs == 1
        assert [job.id for job in await storage.jobs.list_jobs(JobFilter(), limit=9)] == [kept.id]


async def test_a_host_without_the_files_takes_no_backup(place: Place, target: Path, tmp_path: Path) -> None:
    elsewhere = place.settings.model_copy(update={"files": "elsewhere", "controller": "off"})
    with pytest.raises(BackupFault, match="on the host that has the data directory"):
        await take_backup(elsewhere, target, quiet)
    with pytest.raises(BackupFault, match="on the host that has the data directory"):
        await restore_backup(elsewhere, target, quiet, keep_queue=False)
    with pytest.raises(AdoptionRefused, match="on the host that has the data directory"):
        await plan_adoption(elsewhere, place.storage, as_copy=False)


async def test_only_an_empty_database_is_restored_into(
    place: Place, target: Path, tmp_path: Path, postgresql_url: str
) -> None:
    await take_backup(place.settings, target, quiet)
    with pytest.raises(BackupFault, match="has the table artifacts, and a backup is restored only where"):
        await restore_backup(settings_in(tmp_path / "there", postgresql_url), target, quiet, keep_queue=False)


async def test_a_backup_of_the_other_kind_is_refused(
    place: Place, target: Path, tmp_path: Path, empty_postgresql_url: str
) -> None:
    await take_backup(place.settings, target, quiet)
    with pytest.raises(BackupFault, match="`ci migrate-database`"):
        await restore_backup(settings_in(tmp_path / "there"), target, quiet, keep_queue=False)
    other = tmp_path / "other"
    async with placed(tmp_path / "file") as in_file:
        await take_backup(in_file.settings, other, quiet)
    with pytest.raises(BackupFault, match="`ci migrate-database`"):
        await restore_backup(settings_in(tmp_path / "there", empty_postgresql_url), other, quiet, keep_queue=False)


async def test_an_interrupted_restore_leaves_no_installation(
    place: Place,
    target: Path,
    tmp_path: Path,
    empty_postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await place.job(State.COMPLETED, b"log")
    await take_backup(place.settings, target, quiet)

    def broken(*_: object) -> None:
        raise OSError("the power is gone")

    settings = settings_in(tmp_path / "there", empty_postgresql_url)
    monkeypatch.setattr("ci_controller.backup.restore.copy_job", broken)
    with pytest.raises(OSError, match="the power is gone"):
        await restore_backup(settings, target, quiet, keep_queue=False)
    with pytest.raises(Unavailable, match="a restore into this database was interrupted"):
        async with open_installation(settings):
            pass


async def test_a_dump_that_was_restored_by_hand_is_a_copy(
    place: Place, target: Path, postgresql_server: PostgreSQLServer, postgresql_url: str
) -> None:
    name = postgresql_url.rpartition("/")[2]
    await place.storage.leases.release(place.lease)
    await place.storage.close()
    copy = postgresql_server.create_database()
    postgresql_server.drop_database(copy)
    postgresql_server.run(f"CREATE DATABASE {copy} TEMPLATE {name}")
    settings = Settings(database_url=postgresql_server.url(copy), data_dir=place.data.path)
    with pytest.raises(WrongDataDirectory, match=f"/{copy} is a copy of .*/{name}; set CI_DATABASE_URL"):
        async with open_installation(settings):
            pass
    renamed = f"{name}_renamed"
    postgresql_server.run(f"ALTER DATABASE {name} RENAME TO {renamed}")
    async with open_installation(Settings(database_url=postgresql_server.url(renamed), data_dir=place.data.path)):
        pass
    postgresql_server.drop_database(renamed)
    postgresql_server.drop_database(copy)


async def test_programs_that_are_missing_or_too_old(
    place: Place, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_DEBIAN", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="pg_dump is not installed: install PostgreSQL's client programs"):
        await take_backup(place.settings, target, quiet)
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
    old.chmod(0o755)
    with pytest.raises(Unavailable, match=r"pg_dump is of PostgreSQL 9, and the server of \d+, which it cannot read"):
        await take_backup(place.settings, target, quiet)
    assert not target.exists()


async def test_passwords_are_no_arguments(place: Place, target: Path, tmp_path: Path) -> None:
    """The program is given a file that only this user can read."""
    seen = tmp_path / "seen"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$@" > {seen}\nstat -c %a "$PGSERVICEFILE" >> {seen}\ncat "$PGSERVICEFILE"\n')
    program.chmod(0o755)
    server = programs.Server("postgresql://user:geheim@127.0.0.1:5/db")
    assert "password=geheim" in await programs.run_program(server, program, "--list")
    arguments, mode = seen.read_text().splitlines()
    assert "geheim" not in arguments
    assert mode == "600"
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("ci-database-*/service"))
