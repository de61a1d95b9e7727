"""`ci env verify` and `ci run --verify`: whether a setup makes the same once more."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from tests.helpers.service import Service, finished, tree
from tests.helpers.waiting import eventually

MADE = '"${CI_ENV-}/made"'


@pytest.fixture
def project(tmp_path: Path, shell_image: str) -> Path:
    files = {"deps.txt": "one\n", "other.txt": "x", "ci.yaml": ci_yaml(shell_image, f"cat deps.txt >{MADE}")}
    return tree(tmp_path / "project", files)


@pytest.fixture
def images(environment: dict[str, str], runtime: str) -> Iterator[None]:
    """The environments that a test makes in the engine go with it."""
    yield
    if runtime == "docker":
        from tests.e2e.test_environments import images_of, own_label

        for name in images_of(own_label(environment)):
            subprocess.run(["docker", "image", "rm", "--force", name], capture_output=True, check=False)


def ci_yaml(image: str, setup: str) -> str:
    wish = {"image": image, "setup": {"run": setup, "inputs": ["deps.txt"]}, "steps": [f"cat {MADE}"]}
    return json.dumps(wish)


def ci(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    own = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-m", "ci_cli", *words], env=own, capture_output=True, text=True)


@pytest.mark.usefixtures("images")
async def test_an_environment_is_verified(service: Service, project: Path) -> None:
    server = "--server", service.url
    assert ci("run", str(project), *server).returncode == 0
    async with CiClient(service.url) as client:

        async def made() -> str | None:
            return next((each["key"] for each in await client.environments()), None)

        key = await eventually(made, "an environment is prepared")
    told = ci("env", "verify", key[:12], *server)
    assert (told.returncode, told.stdout) == (0, ""), told.stderr
    assert f"environment {key[:12]}: its setup has made the same again" in told.stderr
    result = json.loads(ci("env", "verify", key, "--json", *server).stdout)
    assert (result["environment"], result["same"], result["comparison"]["first"]) == (key, True, [])


@pytest.mark.usefixtures("images")
def test_a_run_can_verify_its_setup(environment: dict[str, str], project: Path, shell_image: str) -> None:
    """Without a server, and with an environment that is only just being made."""
    (project / "ci.yaml").write_text(ci_yaml(shell_image, f"cat /proc/sys/kernel/random/uuid >{MADE}; echo the setup"))
    told = ci("run", str(project), "--verify", **environment)
    assert told.returncode == 1, told.stderr
    assert "so it depends on more than its image and its inputs" in told.stderr
    assert "made has other content" in told.stderr
    assert told.stdout.count("the setup\n") == 2
    failed = ci("run", str(project), "--verify", *("--", "false"), **environment)
    assert failed.returncode == 1
    assert "verifies the setup" not in failed.stderr


async def test_a_zip_and_a_setup_without_inputs(service: Service, project: Path, shell_image: str) -> None:
    """There is nothing to compare with, as neither is kept; but the jobs have their inputs, and nothing else."""
    lists = "ls -A | tr '\\n' ' '; exit 3"
    archive = project.parent / "project.zip"
    subprocess.run(["zip", "-qr", str(archive), "."], cwd=project, check=True)
    async with CiClient(service.url) as client:
        for inputs in (["deps.txt"], []):
            wish = {"image": shell_image, "setup": {"run": lists, "inputs": inputs}, "command": "true"}
            job = await finished(client, await client.submit(archive, spec=wish))
            assert job["exit_code"] == 3
            verifying = await client.get_job(await client.verify_job(job["job_id"]))
            assert (verifying["payload"], verifying["retry_of"]) == ({"verifies": job["job_id"]}, None)
            ended = await finished(client, verifying["job_id"])
            assert ended["conclusion"] == "errored"
            assert "no environment of this setup" in ended["reason"]["message"]


async def test_what_cannot_be_verified(service: Service, project: Path, shell_image: str) -> None:
    async with CiClient(service.url) as client:
        plain = await finished(client, await client.submit(project, spec={"command": "true", "setup": None}))
        with_setup = await finished(client, await client.submit(project))
        verifying = await finished(client, await client.verify_job(with_setup["job_id"]))
        for ask, why in (
            (client.verify_job(verifying["job_id"]), f"verifies the setup of job {with_setup['job_id']}"),
            (client.retry_job(verifying["job_id"]), f"verify job {with_setup['job_id']} once more"),
            (client.verify_job("0" * 8 + with_setup["job_id"][8:]), "no job"),
            *([(client.verify_job(plain["job_id"]), "has no setup")] if plain["environment"] is None else []),
        ):
            with pytest.raises(ServerError, match=why):
                await ask
