"""What the doctor says of caches."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_controller.doctor import leftovers
from tests.contracts.cache_suite import KEPT
from tests.unit.controller.doctor.examined import found, opened


async def test_archives_without_rows_and_rows_without_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(db_path=tmp_path / "jobs.db", data_dir=tmp_path / "data")
    data = DataDirectory(settings.data_path)
    data.create()
    data.caches.mkdir()
    async with opened(settings) as storage:
        lease = await storage.leases.acquire(this_process(), 60)
        assert lease is not None
        await storage.caches.keep(KEPT, lease)
        archive = data.caches / f"{KEPT.id}.tar"
        archive.write_bytes(b"x")
        assert (await found(settings, "caches")).ok
        archive.rename(data.caches / "orphan.tar")
        assert "the archives of 1 are gone" in (await found(settings, "caches")).message
        await storage.caches.keep(replace(KEPT, id="orphan"), lease)
        assert (await found(settings, "caches")).ok
        (data.caches / "left.tar").write_bytes(b"x")
        assert (await found(settings, "caches")).ok, "it may be about to get its row"
        monkeypatch.setattr(leftovers, "SETTLED", leftovers.SETTLED * -1)
        finding = await found(settings, "caches")
        assert finding.ok is None
        assert str(data.caches / "left.tar") in finding.remedy
        os.unlink(data.caches / "left.tar")
