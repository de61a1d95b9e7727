"""A database belongs to one data directory; a copy of it elsewhere is another installation."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from ci_common.errors import Unavailable
from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_controller.ownership import take_possession
from ci_persistence.repository import Installation, JobFilter
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.jobs import PLENTY, bring, new_job


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteJobRepository]:
    repository = SQLiteJobRepository(path)
    await repository.open()
    try:
        yield repository
    finally:
        await repository.close()


def directory(path: Path) -> DataDirectory:
    data = DataDirectory(path)
    data.create()
    return data


async def possess(repository: SQLiteJobRepository, data: DataDirectory, *, patience: float = 0.2) -> Installation:
    return await take_possession(repository, data, utc_now, patience=patience)


async def copied(path: Path, target: Path) -> Path:
    target.parent.mkdir()
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


async def test_the_first_controller_binds_the_database_and_its_id_stays(tmp_path: Path) -> None:
    data = directory(tmp_path / "data")
    async with opened(tmp_path / "jobs.db") as repository:
        made = await repository.installation()
        assert await possess(repository, data) == Installation(made.id, str(tmp_path / "data"))
        (tmp_path / "link").symlink_to(tmp_path / "data")
        assert (await possess(repository, DataDirectory(tmp_path / "link"))).id == made.id


async def test_a_copy_is_an_installation_of_its_own_and_runs_nothing_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db") as original:
        first = await possess(original, directory(tmp_path / "data"))
        lease = await original.acquire(this_process(), 60)
        assert lease is not None
        jobs = [await original.add(new_job(), max_queued=PLENTY) for _ in range(3)]
        for job, state in zip(jobs, (State.QUEUED, State.RUNNING, State.COMPLETED), strict=True):
            await bring(original, lease, job, state)
        await original.release(lease)
        copy = await copied(tmp_path / "jobs.db", tmp_path / "copy" / "jobs.db")
        async with opened(copy) as repository:
            second = await possess(repository, directory(tmp_path / "copy" / "data"))
            assert second.id != first.id
            queued, running, completed = [await repository.get(job.id) for job in jobs]
            for job in (queued, running):
                assert (job.state, job.conclusion) == (State.COMPLETED, Conclusion.ERRORED)
                assert job.reason is not None
                assert job.reason.code is ReasonCode.RESTORED
            assert completed.conclusion is Conclusion.SUCCEEDED
        assert await original.installation() == first
        unfinished: list[Job] = await original.list_jobs(JobFilter(states=frozenset({State.RUNNING})), limit=9)
        assert [job.id for job in unfinished] == [jobs[1].id]


async def test_two_data_directories_for_one_database_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db") as repository:
        first = await possess(repository, directory(tmp_path / "data"))
        assert await repository.acquire(this_process(), 60) is not None
        with pytest.raises(Unavailable, match=r"belongs to the data directory .*/data, .* CI_DATA_DIR names .*/other"):
            await possess(repository, directory(tmp_path / "other"))
        assert await repository.installation() == first


async def test_a_copy_waits_for_the_lease_it_brought_along(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db") as repository:
        first = await possess(repository, directory(tmp_path / "data"))
        assert await repository.acquire(this_process(), 0.2) is not None
        assert (await possess(repository, directory(tmp_path / "other"), patience=20)).id != first.id
