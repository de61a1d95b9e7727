"""What only containers can do: be removed by hand, wait for an image, share an engine with another installation."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_common.jobs import new_job_id
from tests.e2e.conftest import Starter
from tests.engine.api import EngineAPI
from tests.engine.registry import Registry, serve_registry, serve_relay, served_image
from tests.helpers.service import Service, finished, says, text_of, until, waits_for

pytestmark = pytest.mark.docker


@pytest.fixture
def runtime() -> str:
    """These tests are about one runtime."""
    return "docker"


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with serve_registry() as registry:
        yield registry


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


async def test_a_container_that_is_removed_by_hand(
    service: Service, environment: dict[str, str], shell_image: str
) -> None:
    async with CiClient(service.url) as client:
        job_id = await client.create_job({"image": shell_image, "command": "echo up; sleep 60"})
        await until(client, job_id, says("up"))
        docker("rm", "--force", f"{environment['CI_CONTAINER_PREFIX']}ci-{job_id}-1")
        job = await finished(client, job_id)
        assert (job["conclusion"], job["exit_code"], job["reason"]["code"]) == ("errored", None, "container_lost")
        assert job["error"]
        assert await text_of(client, job_id) == "up\n"


async def test_a_slow_pull_delays_no_other_job(
    start: Starter, shell_image: str, registry: Registry, engine: EngineAPI
) -> None:
    service = start(MAX_CONCURRENCY="1")
    async with CiClient(service.url) as client:
        with served_image(registry, engine) as far, registry.stalled() as stalled:
            pulling = await client.create_job({"image": far, "command": "true", "priority": 9})
            cancelled = await client.create_job({"image": far, "command": "true"})
            await stalled.wait()
            events = await until(client, pulling, lambda event: "MB" in (event.get("reason") or {}).get("message", ""))
            assert any(waits_for("pulling_image")(event) for event in events)
            other = await finished(client, await client.create_job({"image": shell_image, "command": "true"}))
            assert other["conclusion"] == "succeeded"
            await client.cancel_job(cancelled)
            assert (await finished(client, cancelled))["conclusion"] == "cancelled"
            assert (await client.get_job(pulling))["status"] == "queued"
        assert (await finished(client, pulling))["conclusion"] == "succeeded"


async def test_two_installations_on_one_engine(start: Starter, port: str, tmp_path: Path, shell_image: str) -> None:
    first, second = start(PORT=port), start(CI_DB_PATH=str(tmp_path / "other.db"))
    async with CiClient(first.url) as one, CiClient(second.url) as two:
        ids = [
            await client.create_job({"image": shell_image, "command": f"echo up; sleep 4; echo {name}"})
            for client, name in ((one, "first"), (two, "second"))
        ]
        await until(one, ids[0], says("up"))
        await until(two, ids[1], says("up"))
        first.kill()
        first.start()
        assert (await finished(two, ids[1]))["conclusion"] == "succeeded"
        assert (await finished(one, ids[0]))["conclusion"] == "succeeded"
        assert await text_of(one, ids[0]) == "up\nfirst\n"
        assert await text_of(two, ids[1]) == "up\nsecond\n"


async def test_an_engine_that_goes_and_comes_back(
    start: Starter, engine: EngineAPI, tmp_path: Path, shell_image: str
) -> None:
    async with serve_relay(tmp_path / "engine.sock", Path(engine.url.removeprefix("unix://"))) as relay:
        service = start(DOCKER_HOST=relay.url)
        async with CiClient(service.url) as client:
            running = await client.create_job({"image": shell_image, "command": "echo up; sleep 2; exit 7"})
            await until(client, running, says("up"))
            await relay.cut()
            waiting = await client.create_job({"image": shell_image, "command": "exit 8"})
            await until(client, waiting, waits_for("engine_unavailable"))
            assert (await client.get_job(running))["status"] == "running", "what cannot be seen is not gone"
            await relay.open()
            jobs = [await finished(client, job_id) for job_id in (running, waiting)]
    assert [(job["conclusion"], job["exit_code"]) for job in jobs] == [("failed", 7), ("failed", 8)]


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("127.0.0.1:1/nobody/there:1", "image_pull_failed"),
        ("{registry}/no/such:image", "image_not_found"),
        ("{registry}/no/such@sha256:" + "0" * 64, "image_not_found"),
        ("{no_shell}", "image_without_shell"),
    ],
)
async def test_images_that_cannot_be_used(
    service: Service, registry: Registry, no_shell_image: str, image: str, code: str
) -> None:
    image = image.format(registry=registry.address, no_shell=no_shell_image)
    async with CiClient(service.url) as client:
        job = await finished(client, await client.create_job({"image": image, "command": "true"}))
        assert (job["conclusion"], job["reason"]["code"], job["start_time"]) == ("errored", code, None)
        assert image.partition("@")[0] in job["error"]


async def test_ours_is_what_carries_our_label(service: Service, environment: dict[str, str], shell_image: str) -> None:
    """A container with a name like ours and no label of ours is not touched."""
    name = f"{environment['CI_CONTAINER_PREFIX']}ci-{new_job_id()}-1"
    docker("run", "--detach", "--name", name, shell_image, "/bin/sleep", "60")
    try:
        async with CiClient(service.url) as client:
            await finished(client, await client.create_job({"image": shell_image, "command": "sleep 3"}))
        assert docker("inspect", "--format", "{{.State.Running}}", name).strip() == "true"
    finally:
        docker("rm", "--force", name)
