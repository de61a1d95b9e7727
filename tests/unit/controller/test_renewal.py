"""The workspace of an attempt after the first: whole, or not there."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import RunDirectory
from ci_common.runtime_faults import StartFault
from ci_controller.run_directory import workspace
from ci_controller.run_directory.workspace import fill_workspace
from tests.helpers.service import zipped
from tests.helpers.untrusted import LIMITS, UnpackLimits
from tests.helpers.waiting import eventually


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "2")


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload.zip"
    path.write_bytes(zipped({"a/b": "content", "c": b"\xff"}))
    return path


def entries(run: RunDirectory) -> list[str]:
    return sorted(os.listdir(run.path)) if run.path.exists() else []


async def test_it_is_what_was_uploaded(run: RunDirectory, upload: Path) -> None:
    await fill_workspace(run, upload, LIMITS)
    assert (run.workspace / "a/b").read_text() == "content"
    assert (run.workspace / "c").read_bytes() == b"\xff"
    assert entries(run) == ["workspace"]


async def test_what_another_controller_has_begun_is_left_alone(run: RunDirectory, upload: Path) -> None:
    """It may have died, or go on: what is left of it goes with the attempt's other files."""
    half = run.path / f"workspace.{new_job_id()}"
    half.mkdir(parents=True)
    (half / "a").write_text("half of it")
    await fill_workspace(run, upload, LIMITS)
    assert (run.workspace / "a/b").read_text() == "content"
    assert entries(run) == ["workspace", half.name]


async def test_what_is_interrupted_is_no_workspace(run: RunDirectory, tmp_path: Path) -> None:
    upload = tmp_path / "large.zip"
    upload.write_bytes(zipped({f"folder/{number}": "" for number in range(20_000)}))
    limits = UnpackLimits(bytes=1000, members=30_000, ratio=200)
    filling = asyncio.create_task(fill_workspace(run, upload, limits))
    (draft,) = await eventually(lambda: list(run.path.glob("workspace.*/folder/*"))[:1])
    filling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await filling
    written = len(os.listdir(draft.parent))
    assert written < 20_000
    assert not run.workspace.exists()
    assert len(os.listdir(draft.parent)) == written, "nothing goes on writing"


async def test_an_upload_that_cannot_be_used_any_more(run: RunDirectory, upload: Path) -> None:
    with pytest.raises(StartFault, match="cannot be unpacked again: the zip archive has more than 1"):
        await fill_workspace(run, upload, UnpackLimits(bytes=1000, members=1, ratio=200))
    upload.write_bytes(b"no archive")
    with pytest.raises(StartFault, match="cannot be unpacked again"):
        await fill_workspace(run, upload, LIMITS)
    upload.unlink()
    with pytest.raises(StartFault, match="is gone from the data directory"):
        await fill_workspace(run, upload, LIMITS)
    assert not run.workspace.exists()


async def test_a_full_disk_is_not_the_uploads_fault(
    run: RunDirectory, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workspace, "unpack_apart", full)
    with pytest.raises(OSError, match="No space"):
        await fill_workspace(run, upload, LIMITS)
    assert not run.workspace.exists()
