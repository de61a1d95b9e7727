"""What the doctor says of environments of jobs that run as processes."""

from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_controller.doctor import leftovers
from tests.contracts.environment_suite import ONE, OTHER
from tests.unit.controller.doctor.examined import found, opened

NAME = "environment trees"


async def test_trees_without_rows_and_rows_without_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(db_path=tmp_path / "jobs.db", data_dir=tmp_path / "data")
    data = DataDirectory(settings.data_path)
    data.create()
    kept = new_job_id()
    async with opened(settings) as storage:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        await storage.environments.put(replace(ONE, runtime="process", reference=kept), lease)
        await storage.environments.put(OTHER, lease)  # An image is in no directory.
        (data.trees / kept).mkdir(parents=True)
        assert (await found(settings, NAME)).ok
        monkeypatch.setattr(leftovers, "SETTLED", leftovers.SETTLED * -1)
        making = new_job_id()
        (data.trees / making).mkdir()
        (data.processes / f".setup-{making}").mkdir(parents=True)
        assert (await found(settings, NAME)).ok, "its setup runs"
        (data.processes / f".setup-{making}").rmdir()
        finding = await found(settings, NAME)
        assert finding.ok is None
        assert str(data.trees / making) in finding.remedy
        (data.trees / making).rmdir()
        (data.trees / kept).rmdir()
        assert "the trees of 1 are gone" in (await found(settings, NAME)).message
