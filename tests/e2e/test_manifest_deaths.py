"""kill -9 of the real server and client while a project is sent by manifest."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_client.packing.scan import scan_directory
from ci_common.manifests.packs import FRAME_BYTES
from ci_common.run_directory.layout import DataDirectory
from ci_selftest.leaks import age_submissions
from tests.e2e.conftest import Starter
from tests.helpers.service import Service, finished, text_of
from tests.helpers.waiting import eventually

FRAMES = 6
OVERHEAD = (FRAMES + 3) * 1024
"""The most bytes by which frames of random content are longer than that."""
COMMAND = "find . -type f | sort | xargs sha256sum"


@pytest.fixture
def environment(environment: dict[str, str], port: str) -> dict[str, str]:
    """With a port that stays, so that clients find the service again."""
    return environment | {"PORT": port}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "folder").mkdir(parents=True)
    for number in range(FRAMES):
        (root / f"large{number}").write_bytes(os.urandom(FRAME_BYTES - 100))
        (root / "folder" / f"small{number}").write_text(f"{number}")
    return root


def digests(root: Path) -> str:
    return subprocess.run(["sh", "-c", COMMAND], cwd=root, capture_output=True, text=True, check=True).stdout


async def submitted(service: Service, tree: Path, image: str, die_at: int) -> str:
    """Submit a tree to a server that is killed, and started again, once so many of its bytes were sent."""
    has_died = False
    restarting: list[asyncio.Future[Service]] = []

    def progress(sent: int, total: int) -> None:
        nonlocal has_died
        if sent >= die_at and not has_died:
            has_died = True
            service.kill()
            restarting.append(asyncio.ensure_future(asyncio.to_thread(service.start)))

    project = await asyncio.to_thread(scan_directory, tree)
    async with CiClient(service.url, reconnect_seconds=60) as client:
        job_id = await client.submit(project, spec={"image": image, "command": COMMAND}, progress=progress)
        await asyncio.gather(*restarting)
        assert has_died
        assert (await finished(client, job_id))["conclusion"] == "succeeded"
        assert await text_of(client, job_id) == digests(tree)
        size = sum(entry.size for entry in project.entries)
        assert project.sent_bytes < size + 3 * FRAME_BYTES + OVERHEAD, "it went on where it was"
        return job_id


@pytest.mark.parametrize("frames", [1, 3, FRAMES - 1, FRAMES])
async def test_kill_9_of_the_server(start: Starter, tree: Path, shell_image: str, frames: int) -> None:
    service = start()
    await submitted(service, tree, shell_image, frames * (FRAME_BYTES - 200))


async def test_kill_9_of_the_client(
    start: Starter, environment: dict[str, str], tree: Path, shell_image: str, tmp_path: Path
) -> None:
    """What it has sent is gone after an hour without a byte; a second command sends it again."""
    service = start()
    data = DataDirectory(Path(environment["CI_DB_PATH"].removesuffix(".db") + ".data"))
    command = [sys.executable, "-m", "ci_cli", "submit", "--detach", "--image", shell_image, str(tree), "--", "true"]
    client = subprocess.Popen(command, env={**os.environ, "CI_SERVER_URL": service.url, "PYTHONPATH": os.getcwd()})
    await eventually(lambda: list(data.incoming.glob("*/upload/*")), "it sends")
    client.send_signal(signal.SIGKILL)
    client.wait()
    age_submissions(data)
    service.kill()
    service.start()
    await eventually(lambda: not list(data.incoming.iterdir()), "what the client left is gone")
    async with CiClient(service.url) as again:
        job_id = await again.submit(tree, spec={"image": shell_image, "command": COMMAND})
        assert (await finished(again, job_id))["conclusion"] == "succeeded"
        assert await text_of(again, job_id) == digests(tree)


async def test_kill_9_at_any_moment(start: Starter, tree: Path, shell_image: str) -> None:
    """Each upload becomes one job with the whole tree, whenever the server dies."""
    for path in tree.glob("large*"):
        path.write_bytes(os.urandom(20_000))
    service = start()
    async with CiClient(service.url, reconnect_seconds=60) as client:
        for number in range(8):
            (tree / "changed").write_text(f"{number}")
            spec = {"image": shell_image, "command": COMMAND}
            submitting = asyncio.create_task(client.submit(tree, spec=spec))
            await asyncio.sleep(0.005 + number * 0.015)  # Where it dies differs; what has to hold does not.
            service.kill()
            await asyncio.to_thread(service.start)
            try:
                job_id = await submitting
            except Exception:
                job_id = await client.submit(tree, spec=spec)
            assert (await finished(client, job_id))["conclusion"] == "succeeded"
            assert await text_of(client, job_id) == digests(tree)
