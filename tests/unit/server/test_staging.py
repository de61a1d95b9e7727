"""What must be on the disk before a submission's row is."""

import os
from pathlib import Path

import pytest

from ci_common.archives.unpack import UnpackLimits, unpack
from ci_common.errors import InvalidUpload
from ci_common.jobs import Job, NewJob, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_persistence.rows import first_version
from ci_persistence.stores.submissions import SubmissionKey
from ci_server.uploads.staging import Staging, staged
from tests.helpers.jobs import new_job
from tests.helpers.service import zipped

LIMITS = UnpackLimits.of(Settings.from_env({}))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What has been synchronised, under the names that it had then."""
    paths: list[Path] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


class Rows:
    """Notes what had been synchronised when a row was stored."""

    def __init__(self, synced: list[Path]) -> None:
        self._synced = synced
        self.before: list[Path] = []

    async def add(self, job: NewJob, _key: SubmissionKey | None) -> Job:
        self.before = list(self._synced)
        return first_version(job)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path.resolve())
    directory.create()
    return directory


async def unpacked(staging: Staging, content: bytes) -> None:
    async def read(upload: Path, workspace: Path) -> None:
        unpack(upload, workspace, LIMITS)

    staging.upload.write_bytes(content)
    await staging.fill(read)


async def test_the_upload_and_its_names_are_on_the_disk_before_the_row(data: DataDirectory, synced: list[Path]) -> None:
    job, rows = new_job(), Rows(synced)
    async with staged(data, job.id) as staging:
        await unpacked(staging, zipped({"a": "b"}))
        await staging.commit(rows.add, job)
    assert set(rows.before) == {data.incoming / job.id / "upload.zip", data.job(job.id), data.jobs}
    assert rows.before[0].name == "upload.zip"
    assert (data.run(job.id, 1).workspace / "a").read_text() == "b"


async def test_nothing_is_left_of_what_is_refused(data: DataDirectory, synced: list[Path]) -> None:
    job_id = new_job_id()
    with pytest.raises(InvalidUpload):
        async with staged(data, job_id) as staging:
            await unpacked(staging, b"no archive")
    assert not list(data.incoming.iterdir())
    assert synced, "it is not waited for"
