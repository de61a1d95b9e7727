"""An engine that has addresses for few networks: jobs with services wait until there is one, and hold up no others."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Conclusion, Job, ReasonCode
from ci_persistence.storage import Storage
from tests.engine import images
from tests.engine.daemon import Daemon, private_daemon
from tests.engine.packages import can_install
from tests.helpers.installation import Installation, completed, installation_of, nothing_left
from tests.helpers.waiting import eventually

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not can_install(), reason="needs root on Debian, for an engine"),
]
NETWORKS = 2
UNTIL_TOLD = "echo up; while [ ! -e go ]; do sleep 0.05; done"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with private_daemon(**{"default-address-pools": [{"base": "10.249.77.0/27", "size": 28}]}) as daemon:
        yield daemon


@pytest.fixture
def installation(daemon: Daemon, tmp_path: Path) -> Iterator[Installation]:
    installation = installation_of(tmp_path, "docker", images.busybox_image(daemon.engine))
    yield replace(installation, environment={**installation.environment, "DOCKER_HOST": daemon.engine.url})
    daemon.remove_containers()


def served(installation: Installation, command: str = "exec sleep 600") -> dict[str, Any]:
    return {"services": {"db": {"image": installation.image, "command": command}}, "network": False}


def let_go(installation: Installation, job: Job) -> None:
    (installation.data.run(job.id, 1).workspace / "go").touch()


@asynccontextmanager
async def all_networks_taken(installation: Installation) -> AsyncIterator[tuple[Storage, list[Job]]]:
    """Yield the jobs that have taken them, and run."""
    async with installation.storage() as storage, installation.controller() as parts:
        jobs = [await installation.submit(UNTIL_TOLD, plan=served(installation)) for _ in range(NETWORKS)]
        for job in jobs:
            await eventually(lambda job=job: installation.says(job, b"up\n"), "the job is up")
        yield storage, jobs
        await nothing_left(parts.runtimes["docker"])


async def test_a_job_waits_until_another_one_has_given_its_network_back(installation: Installation) -> None:
    async with all_networks_taken(installation) as (storage, jobs):
        waiting = await installation.submit("echo ran", plan=served(installation))

        async def waits() -> bool:
            reason = (await storage.jobs.get(waiting.id)).reason
            is_told = reason is not None and "addresses" in reason.message and "ci doctor" in reason.message
            return is_told and reason is not None and reason.code is ReasonCode.WAITING_FOR_SERVICES

        await eventually(waits, "the job says what it waits for")
        other = await installation.submit("echo other", plan={"network": False})
        assert (await completed(storage, other.id)).conclusion is Conclusion.SUCCEEDED
        let_go(installation, jobs[0])
        ended = await completed(storage, waiting.id)
        assert (ended.conclusion, installation.log_of(ended)) == (Conclusion.SUCCEEDED, b"ran\n")
        let_go(installation, jobs[1])
        await completed(storage, jobs[1].id)


async def test_a_job_that_waits_can_be_cancelled(installation: Installation) -> None:
    async with all_networks_taken(installation) as (storage, jobs):
        waiting = await installation.submit("echo ran", plan=served(installation))

        async def waits() -> bool:
            reason = (await storage.jobs.get(waiting.id)).reason
            return reason is not None and reason.code is ReasonCode.WAITING_FOR_SERVICES

        await eventually(waits, "the job waits")
        await storage.jobs.request_cancel(waiting.id, waiting.submit_time)
        assert (await completed(storage, waiting.id)).conclusion is Conclusion.CANCELLED
        for job in jobs:
            let_go(installation, job)
            await completed(storage, job.id)


async def test_a_warm_container_gives_its_network_to_a_job_that_needs_one(installation: Installation) -> None:
    warm = replace(installation, environment={**installation.environment, "CI_POOL_SIZE": "4", "CI_POOL_PER_KEY": "2"})
    async with warm.storage() as storage, warm.controller():
        jobs = [await warm.submit(UNTIL_TOLD, plan=served(warm)) for _ in range(NETWORKS)]
        for job in jobs:
            await eventually(lambda job=job: warm.says(job, b"up\n"), "the job is up")
        for job in jobs:
            let_go(warm, job)
            await completed(storage, job.id)

        async def all_wait() -> bool:
            return (await storage.pool.get()).waiting == NETWORKS

        await eventually(all_wait, "warm containers have all networks")
        other = await completed(storage, (await warm.submit("echo ran", plan=served(warm, "exec sleep 601"))).id)
        assert (other.conclusion, other.start_way) == (Conclusion.SUCCEEDED, StartWay.COLD)
    async with installation.runtime_of_its_own() as runtime, installation.controller():
        await nothing_left(runtime)
