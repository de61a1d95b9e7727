"""What the doctor finds: each fault is made here, and told with the command that mends it. Without an engine."""

import asyncio
import os
from pathlib import Path

import pytest

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import ProcessIdentity, this_process
from ci_controller.doctor import engine, examine, machine
from ci_persistence.storage import Storage
from tests.helpers.jobs import PLENTY, new_job
from tests.unit.controller.doctor.examined import found, opened

DEAD = ProcessIdentity(2**22, "1", this_process().scope)
ELSEWHERE = ProcessIdentity(1, "1", "another machine")


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
    }


async def test_nothing_is_made_where_nothing_is(settings: Settings, tmp_path: Path) -> None:
    findings = await examine.examine(settings)
    assert list(tmp_path.iterdir()) == []
    assert [finding for finding in findings if finding.ok is False] == []


async def test_looking_changes_nothing(settings: Settings, data: DataDirectory, tmp_path: Path) -> None:
    async with opened(settings) as storage:
        await storage.jobs.add(new_job(), max_queued=PLENTY)
    before = snapshot(tmp_path)
    await examine.examine(settings)
    assert snapshot(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ci_jobs.data", "ci_jobs.db", "ci_jobs.db-ballast"]


async def test_all_is_well_beside_a_database_in_use(settings: Settings, storage: Storage) -> None:
    await storage.jobs.add(new_job(), max_queued=PLENTY)
    lease = await storage.leases.acquire(this_process(), 60)
    assert lease is not None
    findings = await examine.examine(settings)
    assert [finding for finding in findings if finding.ok is not True] == [
        Finding("engine", None, "CI_RUNTIME=process: jobs are not isolated", "export CI_RUNTIME=docker")
    ]
    assert f"process {os.getpid()} leads (term 1)" in (await found(settings, "controller")).message


async def test_little_room(settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LITTLE_SPACE", 1 << 60)
    finding = await found(settings, "data directory")
    assert (finding.ok, finding.remedy) == (None, f"see what takes it: du -xh {data.path}")


async def test_few_open_files(settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    assert (await found(settings, "open files")).remedy == "start ci serve with more: ulimit -n 65536"


@pytest.mark.parametrize(("runtime", "ok"), [("auto", None), ("docker", False)])
async def test_an_engine_that_hangs_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, ok: bool | None
) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.3)
    gone = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    silent = await asyncio.start_unix_server(say_nothing, tmp_path / "docker.sock")
    url = f"unix://{tmp_path / 'docker.sock'}"
    try:
        finding = await found(settings.model_copy(update={"runtime": runtime, "docker_url": url}), "engine")
    finally:
        gone.set()
        silent.close()
    assert finding.ok is ok
    assert "did not answer within 0.3 s" in finding.message
