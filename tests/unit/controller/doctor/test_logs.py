"""Logs that are where CI_LOG_STORE does not say."""

import os
from pathlib import Path

import pytest

from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.stored import StoredMark, write_mark
from ci_common.settings import Settings
from ci_controller.doctor.leftovers import examine_logs


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path / "data")
    data.create()
    return data


def settings(tmp_path: Path, store: str) -> Settings:
    return Settings(db_path=tmp_path / "jobs.db", artifacts_url="s3://logs/x", log_store=store)


def cleared(data: DataDirectory, log: bytes, *, old: bool = False) -> RunDirectory:
    run = data.run(new_job_id(), 1)
    run.path.mkdir(parents=True)
    run.log.write_bytes(log)
    if old:
        os.utime(run.log, (0, 0))
    return run


async def test_nothing_is_said_where_logs_never_move(tmp_path: Path, data: DataDirectory) -> None:
    assert await examine_logs(Settings(db_path=tmp_path / "jobs.db"), data) == []


async def test_logs_that_are_where_they_belong(tmp_path: Path, data: DataDirectory) -> None:
    cleared(data, b"just ended")
    cleared(data, b"", old=True)
    run = cleared(data, b"runs", old=True)
    run.gate.touch()
    (data.jobs / "something else").touch()
    (finding,) = await examine_logs(settings(tmp_path, "artifacts"), data)
    assert finding.ok is True


@pytest.mark.parametrize("store", ["artifacts", "data"])
async def test_logs_that_are_not(tmp_path: Path, data: DataDirectory, store: str) -> None:
    cleared(data, b"old", old=True)
    for _ in range(2):
        write_mark(cleared(data, b"both"), StoredMark(4, "0" * 64))
    findings = await examine_logs(settings(tmp_path, store), data)
    assert [finding.ok for finding in findings] == ([None, None] if store == "artifacts" else [None])
    assert "2 in" in findings[0].message
    if store == "artifacts":
        assert "1 in" in findings[1].message
