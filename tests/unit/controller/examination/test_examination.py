"""What the doctor finds: each fault is made here, and told with the command that mends it. Without an engine."""

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ci_common.findings import Finding
from ci_common.jobs import State, new_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import ProcessIdentity, identity_of, this_process
from ci_common.times import utc_now
from ci_controller.doctor import containers, disk, examine, machine
from ci_persistence.sqlite.repository import SQLiteJobRepository
from tests.helpers.examined import found, opened
from tests.helpers.jobs import PLENTY, new_job
from tests.helpers.waiting import eventually

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
    async with opened(settings) as repository:
        await repository.add(new_job(), max_queued=PLENTY)
    before = snapshot(tmp_path)
    await examine.examine(settings)
    assert snapshot(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ci_jobs.data", "ci_jobs.db", "ci_jobs.db-ballast"]


async def test_all_is_well_beside_a_database_in_use(settings: Settings, repository: SQLiteJobRepository) -> None:
    await repository.add(new_job(), max_queued=PLENTY)
    lease = await repository.acquire(this_process(), 60)
    assert lease is not None
    findings = await examine.examine(settings)
    assert [finding for finding in findings if finding.ok is not True] == [
        Finding("engine", None, "CI_RUNTIME=process: jobs are not isolated", "export CI_RUNTIME=docker")
    ]
    assert f"process {os.getpid()} leads (term 1)" in (await found(settings, "controller")).message


@pytest.mark.parametrize(
    ("holder", "ok", "told", "remedy"),
    [
        (this_process(), True, "leads (term 1)", ""),
        (DEAD, None, "is dead, and nobody has taken over", "ci serve"),
        (ELSEWHERE, True, "of another machine, boot or container leads", ""),
    ],
)
async def test_who_leads(
    settings: Settings,
    repository: SQLiteJobRepository,
    holder: ProcessIdentity,
    ok: bool | None,
    told: str,
    remedy: str,
) -> None:
    await repository.add(new_job(), max_queued=PLENTY)
    assert (await found(settings, "controller")) == Finding(
        "controller",
        None,
        "none leads, and there are 0 active and 1 queued jobs",
        "start one: ci serve (or ci controller, beside a server with CI_CONTROLLER=off)",
    )
    assert await repository.acquire(holder, 60) is not None
    finding = await found(settings, "controller")
    assert finding.ok is ok
    assert told in finding.message
    assert remedy in finding.remedy


async def test_a_leader_that_was_stopped(settings: Settings, repository: SQLiteJobRepository) -> None:
    with subprocess.Popen(["sleep", "60"]) as leader:
        try:
            identity = identity_of(leader.pid)
            assert identity is not None
            assert await repository.acquire(identity, 60) is not None
            leader.send_signal(signal.SIGSTOP)
            await eventually(identity.is_stopped, "it has been stopped")
            finding = await found(settings, "controller")
        finally:
            leader.kill()
    assert finding.ok is False
    assert finding.remedy.startswith("let it go on, or end it: kill -CONT ")


async def test_another_data_directory_than_the_databases_own(
    settings: Settings, repository: SQLiteJobRepository
) -> None:
    lease = await repository.acquire(this_process(), 60)
    assert lease is not None
    await repository.bind(lease, replace(await repository.installation(), data_path="/elsewhere"))
    finding = await found(settings, "installation")
    assert finding.ok is False
    assert "belongs to the data directory /elsewhere" in finding.message
    assert finding.remedy.startswith("set CI_DATA_DIR=/elsewhere, or take the database for this directory: ")


async def test_files_that_are_open_to_others(settings: Settings, repository: SQLiteJobRepository) -> None:
    settings.db_path.chmod(0o644)
    finding = await found(settings, "permissions")
    assert (finding.ok, finding.remedy) == (None, f"chmod 600 {settings.db_path}")


async def test_a_job_from_the_future(settings: Settings, repository: SQLiteJobRepository) -> None:
    await repository.add(new_job(submit_time=utc_now() + timedelta(hours=1)), max_queued=PLENTY)
    finding = await found(settings, "clock")
    assert (finding.ok, "set back" in finding.message) == (None, True)


async def test_directories_that_belong_to_no_job(
    settings: Settings, data: DataDirectory, repository: SQLiteJobRepository
) -> None:
    job = await repository.add(new_job(), max_queued=PLENTY)
    names = [job.id, new_job_id(), new_job_id()]
    for name in names:
        data.job(name).mkdir()
        os.utime(data.job(name), (time.time() - 9 * 3600,) * 2)
    os.utime(data.job(names[2]), None)  # Its submission is under way.
    finding = await found(settings, "directories")
    assert (finding.ok, finding.remedy) == (None, f"look at them, then: rm -r {data.job(names[1])}")
    data.job(names[1]).rmdir()
    assert (await found(settings, "directories")).ok
    (data.path / "restoring").mkdir()
    assert (await found(settings, "directories")).remedy == f"rm -r {data.path / 'restoring'}"


async def test_disk_use_by_part(settings: Settings, data: DataDirectory, repository: SQLiteJobRepository) -> None:
    run = data.run(new_job_id(), 1)
    run.workspace.mkdir(parents=True)
    sizes = {run.path.parent / "upload.zip": 1, run.log: 2, run.workspace / "a": 3, data.incoming / "b": 4}
    for path, mebibytes in sizes.items():
        path.write_bytes(b"x" * mebibytes * 1024**2)
    finding = await found(settings, "disk use")
    assert finding.message.startswith("uploads 1.0 MiB, logs 2.0 MiB, workspaces 3.0 MiB, arriving 4.0 MiB, database ")


async def test_little_room(settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LITTLE_SPACE", 1 << 60)
    finding = await found(settings, "data directory")
    assert (finding.ok, finding.remedy) == (None, f"see what takes it: du -xh {data.path}")


@pytest.mark.parametrize(("kind", "ok"), [("ext4", True), ("nfs4", False)])
async def test_a_disk_of_another_machine(
    settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch, kind: str, ok: bool
) -> None:
    monkeypatch.setattr(disk, "_kind_of", lambda _: kind)
    finding = await found(settings, "data directory")
    assert finding.ok is ok
    assert ok or "CI_DB_PATH" in finding.remedy


def test_the_kind_of_a_file_system() -> None:
    assert disk._kind_of(Path("/proc/self")) == "proc"
    assert disk._kind_of(Path("/")) not in ("", "proc")


async def test_few_inotify_instances(settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_instances_in_use", lambda: 10**9)
    finding = await found(settings, "inotify")
    assert (finding.ok, finding.remedy.startswith("sysctl fs.inotify.max_user_instances=")) == (None, True)


async def test_few_open_files(settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    assert (await found(settings, "open files")).remedy == "start ci serve with more: ulimit -n 65536"


async def test_open_files_of_the_leader(settings: Settings, repository: SQLiteJobRepository) -> None:
    assert await repository.acquire(this_process(), 60) is not None
    assert f"process {os.getpid()} has " in (await found(settings, "open files")).message


async def test_a_running_job_that_nothing_runs(settings: Settings, repository: SQLiteJobRepository) -> None:
    lease = await repository.acquire(this_process(), 60)
    assert lease is not None
    job = await repository.add(new_job(), max_queued=PLENTY)
    job = await repository.update(job, lease, state=State.STARTING, runtime="process")
    await repository.bind(lease, replace(await repository.installation(), data_path=str(settings.data_path)))
    await repository.update(job, lease, state=State.RUNNING, start_time=utc_now() - timedelta(hours=1))
    finding = await found(settings, "running jobs")
    assert finding.ok is None
    assert job.id in finding.message


@pytest.mark.parametrize(("runtime", "ok"), [("auto", None), ("docker", False)])
async def test_an_engine_that_hangs_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, ok: bool | None
) -> None:
    monkeypatch.setattr(containers, "PATIENCE", 0.3)
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
