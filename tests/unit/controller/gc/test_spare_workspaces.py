"""Spare workspaces that no upload has used go within the hour, and at once if the disk is full."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from ci_common.errors import LeadershipLost
from ci_common.jobs import new_job_id
from ci_common.manifests.session import spare_workspace
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.disk import Disk
from ci_common.times import utc_now
from ci_controller.gc.spare_workspaces import SpareWorkspaces
from ci_controller.runtime.process.runtime import ProcessRuntime
from tests.unit.controller.gc.rounds import one_round


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path / "data")
    data.create()
    return data


def spare(data: DataDirectory) -> Path:
    path = spare_workspace(data.job(new_job_id()))
    (path / "folder").mkdir(parents=True)
    (path / "folder" / "file").touch()
    (path.parent / "upload").mkdir()
    return path


def collector(data: DataDirectory, *, hours: float = 0, free: int = 10**12, check: object = None) -> SpareWorkspaces:
    usage = SimpleNamespace(total=10**12, free=free)
    disk = Disk([data.path], min_free_bytes=10**9, min_free_percent=5, usage=lambda _: usage)
    runtime = ProcessRuntime(Settings(db_path=data.path / "jobs.db", data_dir=data.path), data)
    return SpareWorkspaces(data, disk, lambda: utc_now() + timedelta(hours=hours), runtime, check or (lambda: None))


async def test_they_go_after_an_hour(data: DataDirectory) -> None:
    path = spare(data)
    draft = path.with_name(f"{path.name}.{new_job_id()}")
    draft.mkdir()
    await one_round(collector(data, hours=0.9))
    assert path.exists()
    await one_round(collector(data, hours=1.1))
    assert [left.name for left in path.parent.iterdir()] == ["upload"]


async def test_they_go_at_once_if_the_disk_is_full(data: DataDirectory) -> None:
    path = spare(data)
    await one_round(collector(data, free=10**6))
    assert not path.exists()


async def test_a_leader_that_is_none_any_more_removes_nothing(data: DataDirectory) -> None:
    path = spare(data)

    def lost() -> None:
        raise LeadershipLost

    with pytest.raises(LeadershipLost):
        await one_round(collector(data, hours=2, check=lost))
    assert path.exists()
