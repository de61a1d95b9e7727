"""A real disk that runs full: a small volume, mounted for the test."""

import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from tests.e2e.conftest import Starter
from tests.helpers.machine import small_volume
from tests.helpers.service import Service, finished, says, text_of, until, waits_for

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None,
    reason="needs root on Linux, to mount a volume",
)
MIB = 1024**2
VOLUME_MIB = 64
FLOOR_MIB = 16
GO = "until [ -e go ]; do sleep 0.05; done"


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            place = stack.enter_context(small_volume(tmp_path, VOLUME_MIB))
        except subprocess.CalledProcessError as exc:  # As root of a container, who may not.
            pytest.skip(f"no volume can be mounted here: {exc.stderr.decode()}")
        yield place


@pytest.fixture
def environment(environment: dict[str, str], volume: Path) -> dict[str, str]:
    """With all data on the small volume, of which a quarter is to stay free."""
    return environment | {
        "CI_DATA_DIR": str(volume / "data"),
        "CI_MIN_FREE_BYTES": str(FLOOR_MIB * MIB),
        "CI_MIN_FREE_PERCENT": "100",
        "MAX_CONCURRENCY": "2",
        "CI_INSTALLER": "pip",  # A copy of uv would take most of the volume.
    }


def leave_free(service: Service, volume: Path, megabytes: float) -> None:
    """Fill the volume, or make room on it, so that so much is free, as the service knows then."""
    assert volume.is_mount(), "nothing else is to be filled"
    filling = volume / "filling"
    filling.unlink(missing_ok=True)
    with filling.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(volume).free - int(megabytes * MIB))
    with service.client() as client:
        client.get("/metrics").raise_for_status()  # Which looks again, while submissions go by the last few moments.


def archive_of(path: Path, megabytes: int) -> Path:
    """Write an archive of that size with a command to run."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("ci.yaml", "steps: [{run: wc -c <data}]")
        archive.writestr("data", random.Random(1).randbytes(megabytes * MIB))
    return path


async def test_a_disk_that_runs_full(
    start: Starter, environment: dict[str, str], volume: Path, shell_image: str, tmp_path: Path
) -> None:
    service = start(CI_DEFAULT_IMAGE=shell_image)
    small, large = archive_of(tmp_path / "small.zip", 4), archive_of(tmp_path / "large.zip", 20)
    jobs = Path(environment["CI_DATA_DIR"], "jobs")
    taken: list[str] = []
    """Jobs whose directories may appear at the same time."""
    async with CiClient(service.url, busy_seconds=0) as client:

        async def refused(archive: Path) -> bool:
            """Tell whether the disk is too full for an upload; of one that is refused nothing stays."""
            before = {path.name for path in jobs.iterdir()}
            try:
                await finished(client, await client.submit(archive))
                return False
            except ServerError as exc:
                refusal = exc
            assert (refusal.status, refusal.code) == (503, "disk_low")
            assert {path.name for path in jobs.iterdir()} <= before.union(taken)
            assert list(jobs.with_name("incoming").iterdir()) == []
            return True

        assert not await refused(small)
        leave_free(service, volume, FLOOR_MIB + 18)
        assert await refused(large), "by what it announces"
        leave_free(service, volume, FLOOR_MIB + 22)
        assert await refused(large), "by what it unpacks to"

        running = await client.create_job({"image": shell_image, "command": f"echo up; {GO}; echo down"})
        blocking = await client.create_job({"image": shell_image, "command": f"echo up; {GO}; echo down"})
        await until(client, running, says("up"))
        await until(client, blocking, says("up"))
        queued = await client.create_job({"image": shell_image, "command": "echo later"})
        taken.append(queued)
        leave_free(service, volume, FLOOR_MIB / 4)
        assert await refused(small)
        with pytest.raises(ServerError, match="16777216"):
            await client.create_job({"image": shell_image, "command": "true"})
        (jobs / running / "1" / "workspace" / "go").touch()
        assert (await finished(client, running))["conclusion"] == "succeeded", "running jobs are left alone"
        assert await text_of(client, running) == "up\ndown\n"
        await until(client, queued, waits_for("waiting_for_disk"))

        leave_free(service, volume, FLOOR_MIB * 3 / 4)
        assert await refused(small)
        assert (await finished(client, queued))["conclusion"] == "succeeded", "what was taken runs"
        (jobs / blocking / "1" / "workspace" / "go").touch()
        await finished(client, blocking)
        leave_free(service, volume, FLOOR_MIB + 12)
        assert not await refused(small)
