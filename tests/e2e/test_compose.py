"""The compose file: server and controller in containers, their jobs in sibling containers."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from ci_controller.runtime.docker.certificates import find_bundle
from tests.engine.packages import install_packages
from tests.helpers.installation import ROOT
from tests.helpers.service import answers, finished, says, text_of, tree, until
from tests.helpers.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

BASE = "ci-test-python-with-certificates"


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def compose_command() -> list[str]:
    """Return `docker compose` where the client has it, else `docker-compose`, which Debian packages."""
    plugin = ["docker", "compose"]
    if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
        return plugin
    if shutil.which("docker-compose") is None:
        install_packages(["docker-compose"])
    return ["docker-compose"]


@pytest.fixture
def base_image(python_image: str, tmp_path: Path) -> str:
    """The default image, trusting what this machine trusts, so that the build gets at the package registry."""
    bundle = find_bundle("auto", os.environ)
    if bundle is None:
        return python_image
    target = "/etc/ssl/certs/ca-certificates.crt"
    context = tree(
        tmp_path / "base",
        {
            "Dockerfile": f"FROM {python_image}\nCOPY bundle.crt {target}\nENV PIP_CERT={target}\n",
            "bundle.crt": bundle.read_bytes(),
        },
    )
    run("docker", "build", "--quiet", "--tag", BASE, str(context))
    return BASE


class Deployment:
    """The services of the compose file, on a data directory and a port of their own."""

    def __init__(self, data: Path, port: str, base_image: str, job_image: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        project = f"ci-test-{port}"
        self._command = [*compose_command(), "--project-name", project]
        socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        self._environment = {
            "BASE_IMAGE": base_image,
            "CI_DATA_DIR": str(data),
            "CI_DEFAULT_IMAGE": job_image,
            "DOCKER_SOCKET": socket,
            "PORT": port,
        }

    def __call__(self, *arguments: str) -> str:
        return run(*self._command, *arguments, **self._environment)


@pytest.fixture
def deployment(tmp_path: Path, port: str, base_image: str, busybox_image: str) -> Iterator[Deployment]:
    made = Deployment(tmp_path / "data", port, base_image, busybox_image)
    try:
        made("up", "--build", "--detach")
        yield made
    finally:
        made("down", "--volumes", "--timeout", "5")


async def test_it_comes_up_and_runs_jobs_across_a_restart_of_the_controller(
    deployment: Deployment, tmp_path: Path
) -> None:
    project = tree(
        tmp_path / "project", {"ci.yaml": "steps:\n- run: echo up; cat greeting; sleep 4; echo down; exit 3\n"}
    )
    (project / "greeting").write_text("hello\n")
    async with CiClient(deployment.url) as stranger:
        await eventually(lambda: answers(stranger), "the server answers")
        with pytest.raises(ServerError, match="has no key"):
            await stranger.list_jobs()
    key = deployment("exec", "-T", "server", "ci", "keys", "create", "--admin").strip()
    async with CiClient(deployment.url, key=key) as client:
        await eventually(lambda: answers(client), "the server answers")
        job_id = await client.submit(project)
        await until(client, job_id, says("hello"))
        deployment("kill", "--signal", "KILL", "controller")
        deployment("up", "--detach", "controller")
        job = await finished(client, job_id, within=90)
        assert (job["conclusion"], job["exit_code"]) == ("failed", 3)
        assert await text_of(client, job_id) == "up\nhello\ndown\n"

    async def is_healthy() -> bool:
        container = deployment("ps", "--quiet", "server").strip()
        return run("docker", "inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy"

    await eventually(is_healthy, "the health check succeeds")
