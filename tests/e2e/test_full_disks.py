"""A disk that jobs fill to its last byte, with the database on it as it is by default: all goes on by itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from ci_client.aio import CiClient
from ci_client.errors import ClientError, ServerError
from tests.e2e.conftest import Starter
from tests.helpers.machine import small_volume
from tests.helpers.service import finished, says, until
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None,
    reason="needs root on Linux, to mount a volume",
)
MIB = 1024**2
VOLUME_MIB = 64

GREEDY = {
    "that ends": "head -c 400000000 /dev/zero >big; echo rc $?",
    "that stays": "cat /dev/zero >big; while :; do sleep 1; done",
    "that goes on": "while :; do cat /dev/zero >>big; done",
}


@pytest.fixture
def volume(tmp_path: Path, kind: str) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            place = stack.enter_context(small_volume(tmp_path, VOLUME_MIB, kind))
        except subprocess.CalledProcessError as exc:  # As root of a container, who may not.
            pytest.skip(f"no volume can be mounted here: {exc.stderr.decode()}")
        yield place


@pytest.fixture
def environment(environment: dict[str, str], volume: Path, floor: int) -> dict[str, str]:
    return environment | {
        "CI_DB_PATH": str(volume / "ci_jobs.db"),
        "CI_MIN_FREE_BYTES": str(floor),
        "CI_MIN_FREE_PERCENT": "100",
        "CI_INSTALLER": "pip",  # A copy of uv would take most of the volume.
        "MAX_CONCURRENCY": "3",
    }


async def taken(request: Awaitable[object]) -> bool:
    """Tell whether the server takes a request, and does not say that it cannot at present."""
    try:
        await request
    except ServerError as exc:
        if exc.status != 503:
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("runtime", "kind", "floor", "greedy"),
    [
        *(("process", kind, floor, "that ends") for kind in ("ext4", "tmpfs") for floor in (16 * MIB, MIB, 0)),
        ("process", "ext4", MIB, "that stays"),
        ("process", "tmpfs", 0, "that goes on"),
        ("process", "ext4", 0, "that goes on"),
        *(pytest.param("docker", "ext4", MIB, greedy, marks=pytest.mark.docker) for greedy in GREEDY),
    ],
    indirect=["runtime"],
)
async def test_a_job_that_fills_the_disk_is_ended_and_all_else_goes_on(
    start: Starter, volume: Path, shell_image: str, greedy: str
) -> None:
    service = start()
    waits = "echo up; while :; do sleep 0.1; done"
    async with CiClient(service.url, busy_seconds=0) as client:
        cancelled = await client.create_job({"image": shell_image, "command": waits})
        done = await client.create_job({"image": shell_image, "command": "echo done"})
        await until(client, cancelled, says("up"))
        await finished(client, done)
        filling = await client.create_job({"image": shell_image, "command": GREEDY[greedy]})

        async def has_filled() -> bool:
            """Tell whether the job fills the disk, or has done so, which may take a moment only."""
            return shutil.disk_usage(volume).free < MIB or (await client.get_job(filling))["status"] == "completed"

        await eventually(has_filled, "the disk is full")
        # As long as the job writes, it takes all that is given up; it is ended soon.
        await eventually(lambda: taken(client.cancel_job(cancelled)), "a cancellation is taken")
        await eventually(lambda: taken(client.delete_job(done)), "a deletion is taken")
        ended = await finished(client, filling)
        if greedy != "that ends":
            assert (ended["conclusion"], ended["reason"]["code"]) == ("errored", "disk_full")
        else:  # Its script may have found room for its exit status.
            assert (ended["conclusion"], (ended["reason"] or {}).get("code")) in {
                ("errored", "disk_full"),
                ("failed", "exit_code"),
                ("succeeded", None),
            }
        assert (await finished(client, cancelled))["conclusion"] == "cancelled"
        await eventually(lambda: shutil.disk_usage(volume).free > 40 * MIB, "there is room again")
        later = await client.create_job({"image": shell_image, "command": "echo later"})
        assert (await finished(client, later))["conclusion"] == "succeeded"
        with pytest.raises(ClientError):
            await client.get_job(done)
    assert httpx.get(f"{service.url}/ready").status_code == 200
