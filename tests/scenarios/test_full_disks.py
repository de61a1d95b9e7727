"""Disks without a single byte left: of the jobs' files, and of the database."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.errors import Unavailable
from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.run_directory.layout import KEPT
from ci_persistence.storage import Storage
from tests.helpers.installation import Installation, completed, script_ended
from tests.helpers.machine import small_volume
from tests.helpers.waiting import eventually
from tests.scenarios.invariants import Ending, check_invariants

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None,
    reason="needs root on Linux, to mount a volume",
)
UNTIL_TOLD = "echo up; while [ ! -e go ]; do sleep 0.05; done; echo down; exit 4"
TOLD = Ending(Conclusion.FAILED, 4, b"up\ndown\n")


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = small_volume(folder, 32)
    try:
        place = mounting.__enter__()
    except subprocess.CalledProcessError as exc:  # As root of a container, who may not.
        pytest.skip(f"no volume can be mounted here: {exc.stderr.decode()}")
    yield place
    mounting.__exit__(None, None, None)


def placed(installation: Installation, **places: Path) -> Installation:
    settings = {name: str(place) for name, place in places.items()}
    settings |= {"CI_MIN_FREE_BYTES": "1", "CI_RECONCILE_INTERVAL": "0.2"}
    return replace(installation, environment={**installation.environment, **settings})


async def up(installation: Installation, *shell: str) -> Job:
    job = await installation.submit(*shell)
    await eventually(lambda: installation.says(job, b"up\n"), "the job is up")
    return job


def let_go(installation: Installation, job: Job) -> None:
    """Tell a job that waits for it to go on; with a directory, which needs no room."""
    (installation.data.run(job.id, 1).workspace / "go").mkdir()


def fill(volume: Path) -> Path:
    """Leave no byte of the volume; return the file to delete for room."""
    assert volume.is_mount(), "nothing else is to be filled"
    filling = volume / "filling"
    with filling.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filling


async def test_a_job_that_fills_the_disk_ends_and_takes_no_other_along(
    installation: Installation, volume: Path
) -> None:
    installation = placed(installation, CI_DATA_DIR=volume / "data")
    async with installation.storage() as storage, installation.controller() as parts:
        runtime = parts.runtimes[installation.runtime]
        other = await up(installation, UNTIL_TOLD)
        greedy = await installation.submit("cat /dev/zero >zeros 2>/dev/null; exit 3")
        ended = await completed(storage, greedy.id)
        code = ended.reason.code if ended.reason else None
        # Its script can write its exit status only where that still finds room.
        assert (ended.conclusion, code) in {
            (Conclusion.ERRORED, ReasonCode.DISK_FULL),
            (Conclusion.FAILED, ReasonCode.EXIT_CODE),
        }
        await eventually(lambda: installation.files_left(ended) <= KEPT, "what it wrote is gone")
        let_go(installation, other)
        await check_invariants(installation, storage, runtime, other.id, TOLD)
        later = await installation.submit("echo later")
        await check_invariants(installation, storage, runtime, later.id, Ending(Conclusion.SUCCEEDED, 0, b"later\n"))


async def test_a_database_without_room_takes_nothing_and_loses_nothing(
    installation: Installation, volume: Path, tmp_path: Path
) -> None:
    installation = placed(installation, CI_DB_PATH=volume / "ci_jobs.db", CI_DATA_DIR=tmp_path / "data")
    async with installation.storage() as storage, installation.controller() as parts:
        running = await up(installation, UNTIL_TOLD)
        filling = fill(volume)
        refused = await refused_jobs(installation, storage)
        let_go(installation, running)
        await script_ended(installation, storage, running)
        assert (await storage.jobs.get(running.id)).state in (State.RUNNING, State.COMPLETED), "it can be read"
        filling.unlink()
        await check_invariants(installation, storage, parts.runtimes[installation.runtime], running.id, TOLD)
        assert not await storage.jobs.get_many(refused), "what was refused is not there"
        later = await installation.submit("echo later")
        assert (await completed(storage, later.id)).conclusion is Conclusion.SUCCEEDED
    with closing(sqlite3.connect(installation.settings.db_path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT length FROM queue").fetchone() == (0,)


async def refused_jobs(installation: Installation, storage: Storage) -> list[str]:
    """Submit jobs until the database takes no more; return the ids of some that it refused."""
    refused: list[str] = []
    while len(refused) < 3:
        job = installation.shell_job("true", payload={"padding": "x" * 100_000})
        try:
            await storage.jobs.add(job, max_queued=1000)
        except Unavailable:
            refused.append(job.id)
    return refused
