"""Warm containers: a job that finds one is like any other, and what waits never outlives its use."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from tests.e2e.conftest import Starter
from tests.helpers.installation import ROOT
from tests.helpers.service import Service, containers, finished, tree
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.docker

SAYS_ALL = r"""
id; pwd; umask; env | sort; ulimit -a; cat a/text; echo made >made; ls -lA . a
for fd in /proc/self/fd/*; do readlink "$fd"; done | sed 's/[0-9][0-9]*/N/g'
tr '\0' ' ' </proc/1/cmdline; ps=$(ps -o pid,ppid,args); echo "$ps" | grep -c .; wc -c </etc/hostname
cut -d ' ' -f 1,3 /proc/mounts | sort
cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max 2>/dev/null
echo out; echo err >&2; exit 3
"""
"""All that a job can easily find out about where it runs."""


@pytest.fixture
def runtime() -> str:
    """These tests are about one runtime."""
    return "docker"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "CI_POOL_SIZE": "2"}


async def waiting(client: CiClient, number: int) -> dict[str, object]:
    """Return the pool once so many containers wait, and none is on its way."""

    async def settled() -> dict[str, object] | None:
        pool = await client.pool()
        return pool if pool["waiting"] == number and not any(kind["starting"] for kind in pool["kinds"]) else None

    found = await eventually(settled, f"{number} containers wait")
    assert found is not None
    return found


def same_in_every_run(log: str) -> str:
    """Return a log without what differs between any two containers, and without what the job was called."""
    return re.sub(r"[0-9a-f]{12}|[A-Z][a-z]{2} +\d+ +\d+:\d+", "*", log)


async def test_a_warm_start_cannot_be_told_from_a_cold_one(service: Service, shell_image: str, tmp_path: Path) -> None:
    wish = {"image": shell_image, "command": SAYS_ALL, "env": {"NAME": "two words"}}
    wish |= {"limits": {"memory": "64m", "pids": 50}, "network": False}
    project = tree(tmp_path / "project", {"a/text": "hello\n"})
    async with CiClient(service.url) as client:
        jobs, logs = [], []
        for _ in range(2):
            job_id = await client.submit(project, spec=wish)
            jobs.append(await finished(client, job_id))
            logs.append(b"".join([chunk async for chunk in client.log(job_id)]).decode())
            await waiting(client, 1)
    assert [job["start_way"] for job in jobs] == ["cold", "warm"]
    assert [(job["conclusion"], job["exit_code"]) for job in jobs] == [("failed", 3)] * 2
    assert [[step["name"] for step in job["steps"]] for job in jobs] == [["command"]] * 2
    assert "NAME=two words" in logs[0]
    assert "hello" in logs[0]
    assert same_in_every_run(logs[1]) == same_in_every_run(logs[0])


async def test_a_container_is_for_one_job_of_its_kind(service: Service, shell_image: str) -> None:
    wishes = [{"image": shell_image, "command": "hostname; touch /used; ls /used*"}] * 3
    wishes.append({**wishes[0], "limits": {"memory": "64m"}})
    async with CiClient(service.url) as client:
        jobs, hosts = [], set()
        for wish in wishes:
            job_id = await client.create_job(wish)
            jobs.append(await finished(client, job_id))
            hosts.add(b"".join([chunk async for chunk in client.log(job_id)]))
            await waiting(client, min(len(jobs), 1))
    assert [job["start_way"] for job in jobs] == ["cold", "warm", "warm", "cold"]
    assert len(hosts) == 4, "no two jobs saw the same container"


async def test_what_waits_is_shown(service: Service, environment: dict[str, str], shell_image: str) -> None:
    async with CiClient(service.url) as client:
        await finished(client, await client.create_job({"image": shell_image, "command": "true", "network": False}))
        pool = await waiting(client, 1)
    assert (pool["size"], pool["per_key"], pool["held_back"]) == (2, 4, None)
    (kind,) = pool["kinds"]  # type: ignore[misc]
    assert (kind["image"], kind["network"], kind["wanted"]) == (shell_image, False, 1)
    listing = [sys.executable, "-m", "ci_cli", "list", "--pool", "--server", service.url]
    shown = subprocess.run(listing, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert kind["kind"] in shown.stdout
    assert "1 of at most 2 containers are warm" in shown.stdout


async def test_what_waits_survives_a_kill_and_goes_with_an_orderly_end(
    start: Starter, environment: dict[str, str], shell_image: str
) -> None:
    prefix = environment["CI_CONTAINER_PREFIX"]
    service = start()
    async with CiClient(service.url) as client:
        await finished(client, await client.create_job({"image": shell_image, "command": "true"}))
        await waiting(client, 1)
    (left,) = containers(prefix)
    service.kill()
    service.start()
    async with CiClient(service.url) as client:

        async def taken_over() -> bool:
            kinds = (await client.pool())["kinds"]
            return [(kind["waiting"], kind["image"]) for kind in kinds] == [(1, None)]

        await eventually(taken_over, "it is taken over, for whatever image that is")
        assert containers(prefix) == [left]
        job = await finished(client, await client.create_job({"image": shell_image, "command": "true"}))
        assert job["start_way"] == "warm"
        await waiting(client, 1)
    assert service.stop(within=30) == 0
    assert containers(prefix) == []


async def test_another_image_of_the_same_name_gets_no_container_of_the_first(
    service: Service, environment: dict[str, str], shell_image: str
) -> None:
    name = f"{environment['CI_CONTAINER_PREFIX']}image:1".lower()
    wish = {"image": name, "command": "cat /version || echo none"}

    def build(*lines: str) -> None:
        text = "\n".join((f"FROM {shell_image}", *lines))
        subprocess.run(["docker", "build", "--quiet", "--tag", name, "-"], input=text.encode(), check=True)

    try:
        build("ENV A=1")
        async with CiClient(service.url) as client:
            await finished(client, await client.create_job(wish))
            await waiting(client, 1)
            build("RUN echo second >/version")
            job_id = await client.create_job(wish)
            job = await finished(client, job_id)
            log = b"".join([chunk async for chunk in client.log(job_id)])
        assert (job["start_way"], log) == ("cold", b"second\n")
    finally:
        await eventually(lambda: remove_image(name), "the image is removed")


def remove_image(name: str) -> bool:
    return subprocess.run(["docker", "image", "rm", "--force", name], capture_output=True).returncode == 0
