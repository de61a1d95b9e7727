"""A database and a data directory belong together: others are refused, and adopted only where that is asked for."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import Unavailable
from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.owner_file import BoundDatabase, Owner, WrongDataDirectory, check_owner
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import ProcessIdentity, this_process
from ci_controller.main import claim_database
from ci_controller.ownership import Abandoned, AdoptionRefused, adopt, plan_adoption
from ci_persistence.job_lists import JobFilter
from ci_persistence.open import open_installation, sqlite_storage
from ci_persistence.storage import Storage
from ci_persistence.stores.installations import Installation
from tests.helpers.jobs import PLENTY, bring, new_job
from tests.unit.controller.backup.backups import quiet

ELSEWHERE = ProcessIdentity(1, "1", "another machine")


def settings_of(home: Path, data: Path | None = None) -> Settings:
    return Settings(db_path=home / "ci_jobs.db", data_dir=data)


@asynccontextmanager
async def unchecked(path: Path) -> AsyncIterator[Storage]:
    """A connected storage, whatever data directory it belongs to."""
    storage = sqlite_storage(path)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def lead_once(settings: Settings) -> Installation:
    """Do what the first term of a controller does."""
    async with open_installation(settings) as storage:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        await claim_database(storage.installations, lease, DataDirectory(settings.data_path), settings.database)
        await storage.leases.release(lease)
        return await storage.installations.get()


async def with_jobs(settings: Settings) -> list[Job]:
    """Store a job that waits, one that runs and one that has completed."""
    async with open_installation(settings) as storage:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        jobs = [await storage.jobs.add(new_job(), max_queued=PLENTY) for _ in range(3)]
        for job, state in zip(jobs, (State.QUEUED, State.RUNNING, State.COMPLETED), strict=True):
            await bring(storage, lease, job, state)
        await storage.leases.release(lease)
        return jobs


async def adopted(settings: Settings, *, as_copy: bool = False) -> Abandoned:
    async with unchecked(settings.db_path) as storage:
        return await adopt(await plan_adoption(settings, storage, as_copy=as_copy), storage, quiet)


async def refusal(settings: Settings) -> str:
    """Return what is said where an installation does not start; nothing is changed then."""
    before = snapshot(settings.db_path.parent)
    with pytest.raises(WrongDataDirectory) as refused:
        async with open_installation(settings):
            pass
    assert snapshot(settings.db_path.parent) == before
    return str(refused.value)


def snapshot(directory: Path) -> dict[str, bytes]:
    if not directory.exists():
        return {}
    files = [path for path in directory.rglob("*") if "-wal" not in path.name and "-shm" not in path.name]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(files)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


async def test_the_first_term_binds_both_and_the_id_stays(home: Path) -> None:
    settings = settings_of(home)
    first = await lead_once(settings)
    data = DataDirectory(settings.data_path)
    assert first.data_path == str(settings.data_path)
    owner = Owner.read(data)
    assert owner is not None
    assert (owner.id, owner.database) == (first.id, str(settings.db_path))
    assert data.owner_file.stat().st_mode & 0o077 == 0
    (home / "link").symlink_to(settings.data_path)
    assert await lead_once(settings_of(home, home / "link")) == first


async def test_the_draft_of_a_process_that_was_killed_is_removed(home: Path) -> None:
    data = DataDirectory(settings_of(home).data_path)
    await lead_once(settings_of(home))
    draft = data.owner_file.with_name(f"{data.owner_file.name}.1.new")
    draft.write_text("{")
    os.utime(draft, (0, 0))
    await lead_once(settings_of(home))
    assert not draft.exists()


async def test_a_mistyped_data_directory_is_refused_and_nothing_is_changed(home: Path, tmp_path: Path) -> None:
    settings = settings_of(home)
    await lead_once(settings)
    message = await refusal(settings_of(home, tmp_path / "typo"))
    assert f"belongs to the data directory {settings.data_path}, and CI_DATA_DIR names {tmp_path}/typo" in message
    assert f"set CI_DATA_DIR={settings.data_path}" in message
    assert f"CI_DB_PATH={settings.db_path} CI_DATA_DIR={tmp_path}/typo ci adopt" in message
    assert not (tmp_path / "typo").exists()


async def test_a_mistyped_database_is_refused_and_not_made(home: Path, tmp_path: Path) -> None:
    settings = settings_of(home)
    await lead_once(settings)
    (tmp_path / "other").mkdir()
    message = await refusal(settings_of(tmp_path / "other", settings.data_path))
    assert f"belongs to the database {settings.db_path}, and CI_DB_PATH names {tmp_path}/other/ci_jobs.db" in message
    assert list((tmp_path / "other").iterdir()) == []


async def test_an_installation_that_was_renamed_goes_on(home: Path, tmp_path: Path) -> None:
    first, jobs = await lead_once(settings_of(home)), await with_jobs(settings_of(home))
    home.rename(tmp_path / "renamed")
    moved = settings_of(tmp_path / "renamed")
    again = await lead_once(moved)
    assert again == Installation(first.id, str(moved.data_path))
    owner = Owner.read(DataDirectory(moved.data_path))
    assert owner is not None
    assert owner.database == str(moved.db_path)
    async with open_installation(moved) as storage:
        assert [job.id for job in (await storage.queue.unfinished())[0]] == [jobs[1].id]


async def test_the_path_may_be_written_otherwise(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await lead_once(settings_of(home))
    monkeypatch.chdir(home)
    assert await lead_once(settings_of(Path(), Path("ci_jobs.data"))) == first


async def test_one_that_was_copied_to_another_disk_is_adopted_with_its_jobs(home: Path, tmp_path: Path) -> None:
    first, jobs = await lead_once(settings_of(home)), await with_jobs(settings_of(home))
    shutil.copytree(home, tmp_path / "moved")
    shutil.rmtree(home)
    moved = settings_of(tmp_path / "moved")
    assert "was copied from" in await refusal(moved)
    assert await adopted(moved) == Abandoned(ended=0, queued=2)
    assert await lead_once(moved) == Installation(first.id, str(moved.data_path))
    async with open_installation(moved) as storage:
        assert {job.id for jobs in await storage.queue.unfinished() for job in jobs} == {jobs[0].id, jobs[1].id}


def files_and_database(home: Path, target: Path) -> Settings:
    shutil.copytree(home, target)
    return settings_of(target)


def database_alone(home: Path, target: Path) -> Settings:
    target.mkdir()
    with (
        closing(sqlite3.connect(home / "ci_jobs.db")) as source,
        closing(sqlite3.connect(target / "ci_jobs.db")) as copy,
    ):
        source.backup(copy)
    return settings_of(target)


def snapshot_of_the_disk(home: Path, target: Path) -> Settings:
    """A copy whose files have the inode numbers of the original's, as in a snapshot of a file system."""
    shutil.copytree(home, target)
    here, there = home / "ci_jobs.data" / "installation", target / "ci_jobs.data" / "installation"
    there.unlink()
    os.link(here, there)
    return settings_of(target)


@pytest.mark.parametrize("copied", [files_and_database, database_alone, snapshot_of_the_disk])
async def test_a_copy_is_refused_and_adopted_as_an_installation_of_its_own(
    home: Path, tmp_path: Path, copied: Callable[[Path, Path], Settings]
) -> None:
    original = settings_of(home)
    first, jobs = await lead_once(original), await with_jobs(original)
    copy = copied(home, tmp_path / "copy")
    assert "ci adopt" in await refusal(copy)
    assert await adopted(copy) == Abandoned(ended=2, queued=0)
    second = await lead_once(copy)
    assert second.id != first.id
    assert second.data_path == str(copy.data_path)
    async with open_installation(copy) as storage:
        queued, running, completed = [await storage.jobs.get(job.id) for job in jobs]
        for job in (queued, running):
            assert (job.state, job.conclusion) == (State.COMPLETED, Conclusion.ERRORED)
            assert job.reason is not None
            assert job.reason.code is ReasonCode.RESTORED
        assert completed.conclusion is Conclusion.SUCCEEDED
    assert await lead_once(original) == first
    async with open_installation(original) as storage:
        unfinished = await storage.jobs.list_jobs(JobFilter(states=frozenset({State.RUNNING})), limit=9)
        assert [job.id for job in unfinished] == [jobs[1].id]


async def test_a_copy_of_the_database_beside_the_original_is_refused(home: Path) -> None:
    settings = settings_of(home)
    await lead_once(settings)
    shutil.copy(settings.db_path, home / "other.db")
    message = await refusal(Settings(db_path=home / "other.db", data_dir=settings.data_path))
    assert f"is a copy of {settings.db_path}, which is still there" in message


async def test_what_was_moved_can_be_adopted_as_a_copy(home: Path, tmp_path: Path) -> None:
    first, _ = await lead_once(settings_of(home)), await with_jobs(settings_of(home))
    shutil.copytree(home, tmp_path / "moved")
    shutil.rmtree(home)
    assert await adopted(settings_of(tmp_path / "moved"), as_copy=True) == Abandoned(ended=2, queued=0)
    assert (await lead_once(settings_of(tmp_path / "moved"))).id != first.id


async def test_nothing_is_adopted_while_a_controller_leads(home: Path, tmp_path: Path) -> None:
    settings = settings_of(home)
    first = await lead_once(settings)
    async with unchecked(settings.db_path) as leader:
        lease = await leader.leases.acquire(this_process(), 60)
        assert lease is not None
        adopting = asyncio.create_task(adopted(settings_of(home, tmp_path / "typo")))
        while not adopting.done():
            await leader.leases.renew(lease, 60)
            await asyncio.sleep(0)
        with pytest.raises(AdoptionRefused, match="a controller leads"):
            await adopting
        assert await leader.installations.get() == first
    assert not (tmp_path / "typo").exists()


async def test_the_lease_that_a_copy_has_of_the_original_runs_out(home: Path, tmp_path: Path) -> None:
    await lead_once(settings_of(home))
    async with unchecked(home / "ci_jobs.db") as leader:
        assert await leader.leases.acquire(ELSEWHERE, 0.2) is not None
        copy = database_alone(home, tmp_path / "copy")
    assert await adopted(copy) == Abandoned(0, 0)


async def test_a_directory_is_not_taken_from_another_database(home: Path, tmp_path: Path) -> None:
    """Two databases that are both new find the same directory free; the second to lead does not take it."""
    settings, data = settings_of(home), DataDirectory(tmp_path / "data")
    (tmp_path / "other").mkdir()
    other = settings_of(tmp_path / "other", data.path)
    async with open_installation(other) as storage:
        await lead_once(settings_of(home, data.path))
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        with pytest.raises(WrongDataDirectory, match=f"belongs to the database {settings.db_path}"):
            await claim_database(storage.installations, lease, data, other.database)


@pytest.mark.parametrize("content", ["", "[]", '{"id": 1}', "\xff"])
async def test_an_owner_that_cannot_be_read_is_refused_and_replaced(home: Path, content: str) -> None:
    settings = settings_of(home)
    await lead_once(settings)
    jobs = await with_jobs(settings)
    DataDirectory(settings.data_path).owner_file.write_text(content)
    assert "cannot be read" in await refusal(settings)
    assert await adopted(settings) == Abandoned(ended=0, queued=len(jobs) - 1)
    await lead_once(settings)


def test_a_directory_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ci_common.owner_file.read_capped", broken)
    with pytest.raises(Unavailable, match="cannot be read: Input/output error"):
        check_owner(DataDirectory(tmp_path), BoundDatabase(DatabaseAddress(path=tmp_path / "ci_jobs.db"), "i", None))


async def test_an_adoption_that_was_interrupted_is_repeated(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs had ended and the new id was bound; only the directory did not name it yet."""
    first, jobs = await lead_once(settings_of(home)), await with_jobs(settings_of(home))
    copy = files_and_database(home, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr("ci_controller.ownership.write_owner", interrupt)
        with pytest.raises(KeyboardInterrupt):
            await adopted(copy)
    assert "ci adopt" in await refusal(copy)
    assert await adopted(copy) == Abandoned(ended=0, queued=0)
    assert (await lead_once(copy)).id != first.id
    async with open_installation(copy) as storage:
        ended = await storage.jobs.get_many([job.id for job in jobs])
    assert all(job.state is State.COMPLETED for job in ended.values())


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
