"""kill -9 and SIGTERM of the real processes while jobs are in every state: results, logs and nothing left behind."""

import asyncio
import subprocess
import time

import pytest

from ci_client.aio import CiClient
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from tests.e2e.conftest import Starter
from tests.helpers.service import Service, answers, containers, finished, says, text_of, until
from tests.helpers.waiting import eventually

UNTIL_TOLD = "echo up; while [ ! -e go ]; do sleep 0.05; done; echo down; exit 6"


def nothing_left(environment: dict[str, str], runtime: str) -> bool:
    if runtime == "docker":
        return not containers(environment["CI_CONTAINER_PREFIX"])
    mark = environment["CI_DB_PATH"].removesuffix("ci_jobs.db")
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return not any(mark in line for line in processes.splitlines())


@pytest.fixture
def environment(environment: dict[str, str], port: str) -> dict[str, str]:
    """With a port that stays, so that clients find the service again."""
    return environment | {"MAX_CONCURRENCY": "2", "PORT": port}


async def submit_in_every_state(client: CiClient, image: str) -> list[str]:
    """Return the ids of jobs of which some have ended, some run and some are queued."""
    commands = ["echo quick; exit 3", "echo slow; sleep 2; echo done", "echo up; sleep 1; echo down; exit 4"]
    commands += [f"echo queued {n}; exit {n}" for n in range(4)]
    ids = [await client.create_job({"image": image, "command": command}) for command in commands]
    await finished(client, ids[0])
    await until(client, ids[1], says("slow"))
    return ids


def containers_started(environment: dict[str, str], since: float) -> list[str]:
    """Return the name of every container of this test's prefix that was started since then, once per start."""
    window = ["--since", f"{since:.3f}", "--until", f"{time.time():.3f}"]
    command = ["docker", "events", *window, "--filter", "event=start", "--format", "{{.Actor.Attributes.name}}"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in names if name.startswith(environment["CI_CONTAINER_PREFIX"])]


async def check_results(client: CiClient, ids: list[str]) -> None:
    jobs = [await finished(client, job_id) for job_id in ids]
    assert [job["exit_code"] for job in jobs] == [3, 0, 4, 0, 1, 2, 3]
    logs = [await text_of(client, job_id) for job_id in ids]
    assert logs == ["quick\n", "slow\ndone\n", "up\ndown\n"] + [f"queued {n}\n" for n in range(4)]


async def test_kill_9_of_the_server(
    start: Starter, environment: dict[str, str], runtime: str, shell_image: str
) -> None:
    service = start()
    begun = time.time()
    async with CiClient(service.url) as client:
        ids = await submit_in_every_state(client, shell_image)
        following = asyncio.create_task(finished(client, ids[1]))
        service.kill()
        service.start()
        assert (await following)["conclusion"] == "succeeded", "a reader follows across the restart"
        await check_results(client, ids)
    await eventually(lambda: nothing_left(environment, runtime), "nothing is left behind")
    if runtime == "docker":
        started = containers_started(environment, begun)
        assert len(started) == len(set(started)) == len(ids), "exactly one container ever ran each job"


async def test_kill_9_of_a_separate_controller(
    start: Starter, environment: dict[str, str], runtime: str, shell_image: str
) -> None:
    service = start(CI_CONTROLLER="off")
    controller = Service(environment, "controller")
    controller.launch()
    try:
        async with CiClient(service.url) as client:
            ids = await submit_in_every_state(client, shell_image)
            controller.kill()
            controller.launch()
            await check_results(client, ids)
        await eventually(lambda: nothing_left(environment, runtime), "nothing is left behind")
    finally:
        controller.close()


async def test_a_graceful_stop_is_quick_and_touches_no_job(
    start: Starter, environment: dict[str, str], shell_image: str
) -> None:
    service = start()
    async with CiClient(service.url) as client:
        job_id = await client.create_job({"image": shell_image, "command": UNTIL_TOLD})
        await until(client, job_id, says("up"))
        following = asyncio.create_task(finished(client, job_id))
        assert await asyncio.to_thread(service.stop) == 0, "though the job has not ended"
        assert not any("Traceback" in line for line in service.said)
        (DataDirectory(Settings.from_env(environment).data_path).run(job_id, 1).workspace / "go").touch()
        service.start()
        assert (await following)["exit_code"] == 6
        assert await text_of(client, job_id) == "up\ndown\n"


async def test_four_workers_on_one_database_start_every_job_once(environment: dict[str, str], shell_image: str) -> None:
    """`uvicorn ci_server.app:app --workers 4`, as in the service's first description."""
    command = ["-m", "uvicorn", "ci_server.app:app", "--workers", "4", "--port", environment["PORT"]]
    service = Service(environment | {"MAX_CONCURRENCY": "4"})
    service.launch(*command)
    try:
        service.url = f"http://127.0.0.1:{environment['PORT']}"
        async with CiClient(service.url) as client:
            await eventually(lambda: answers(client), "the workers answer")
            ids = [await client.create_job({"image": shell_image, "command": f"echo {n}"}) for n in range(12)]
            jobs = [await finished(client, job_id) for job_id in ids]
            assert {job["conclusion"] for job in jobs} == {"succeeded"}
            assert [await text_of(client, job_id) for job_id in ids] == [f"{n}\n" for n in range(12)]
        assert service.stop() == 0
    finally:
        service.close()
