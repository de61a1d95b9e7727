"""Many connections need many open files; jobs are given the limit that the machine gives to every user."""

import resource
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from tests.e2e.conftest import Starter
from tests.helpers.service import finished, text_of


@pytest.fixture
def runtime() -> str:
    """Containers have the engine's limit."""
    return "process"


async def test_the_service_may_open_more_files_than_its_jobs(start: Starter) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        service = start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{service.process.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(line.split()[3]) == min(hard, 65_536)
    async with CiClient(service.url) as client:
        job_id = await client.create_job({"image": "none", "command": "ulimit -S -n"})
        await finished(client, job_id)
        assert await text_of(client, job_id) == "256\n"
