"""Whether the job that fills a disk is ended, and when."""

import asyncio
from pathlib import Path

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.system.disk import Ballast
from ci_controller.supervision import supervisors
from ci_controller.supervision.supervisors import Scarcity
from tests.helpers.waiting import eventually


@pytest.mark.parametrize(
    ("full", "ends"), [([True] * 10, True), ([False, True] * 5, False), ([False] * 10, False)], ids=str
)
async def test_a_job_is_ended_where_the_disk_stays_full(
    full: list[bool], ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisors, "LOOK_SECONDS", 0.0)
    ended, looked = asyncio.Event(), asyncio.Event()
    looks = list(full)

    def is_full(_: Path) -> bool:
        if not looks:
            looked.set()
            return False
        return looks.pop(0)

    async def end_greediest() -> bool:
        ended.set()
        return True

    monkeypatch.setattr(supervisors, "is_full", is_full)
    watching = asyncio.create_task(Scarcity(DataDirectory(tmp_path), Ballast(tmp_path / "db"), end_greediest).run())
    await eventually(lambda: ended.is_set() or looked.is_set())
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert ended.is_set() is ends
