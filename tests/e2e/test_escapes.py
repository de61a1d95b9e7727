"""Jobs that put links to the host's directories in the place of their own while their files are removed."""

from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_common.run_directory.layout import KEPT
from tests.e2e.conftest import Starter
from tests.helpers.service import containers, finished
from tests.helpers.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.parametrize("runtime", ["docker"], indirect=True)]

BREAKING_OUT = """
i=0; while [ $i -lt 400 ]; do mkdir d$i; i=$((i+1)); done
( trap '' TERM; while [ -e /ci/gate ]; do :; done; {swap} ) >/dev/null 2>&1 &
( {noise} ) >/dev/null 2>&1 &
printf '0 last\\n' >/ci/exit
while :; do sleep 1; done
"""
SWAPS = {
    "directories": "for d in d*; do rmdir $d && ln -s {canary} $d; done",
    "workspace": "cd /ci && mv workspace aside && ln -s {canary} workspace",
}
NOISES = {"oom": "sleep 0.2; x=0123456789; while :; do x=$x$x; done", "none": ":"}
"""Of what the engine tells that is not the end of the job: the kernel kills a process of it for want of memory."""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory of the host that no job was given."""
    canary = tmp_path / "canary"
    for name in ("inner", "locked"):
        (canary / name).mkdir(parents=True)
        (canary / name / "secret").write_text("a secret")
        (canary / name / "secret").chmod(0o600)
        (canary / name).chmod(0o700)
    return canary


def seen(canary: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in (canary, *canary.rglob("*"))}


@pytest.mark.parametrize("pool", ["0", "2"], ids=["cold", "pooled"])
@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("noise", ["oom", "delete"])
async def test_a_job_gets_at_nothing_of_the_hosts(
    start: Starter, environment: dict[str, str], shell_image: str, canary: Path, swap: str, noise: str, pool: str
) -> None:
    before = seen(canary)
    service = start(CI_POOL_SIZE=pool)
    command = BREAKING_OUT.format(swap=SWAPS[swap].format(canary=canary), noise=NOISES.get(noise, NOISES["none"]))
    request = {"image": shell_image, "command": command, "network": False, "limits": {"memory": "23MiB"}}
    async with CiClient(service.url) as client:
        job_id = await client.create_job(request)
        assert (await finished(client, job_id))["conclusion"] == "succeeded", "that is what it said"
        directory = Path(environment["CI_DB_PATH"]).with_suffix(".data") / "jobs" / job_id
        if noise == "delete":
            await client.delete_job(job_id)
            await eventually(lambda: not directory.exists(), "its directory is gone")
        else:
            await eventually(lambda: {p.name for p in (directory / "1").iterdir()} <= KEPT, "its files are gone")
    await eventually(
        lambda: not containers(environment["CI_CONTAINER_PREFIX"] + f"ci-{job_id}"), "its container is gone"
    )
    assert seen(canary) == before
    assert {path.read_text() for path in canary.glob("*/secret")} == {"a secret"}
