"""Jobs with a real database beside them, as people use them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from tests.engine.api import EngineAPI
from tests.engine.images import postgresql_image
from tests.helpers.service import Service, Start, ended, finished, terminals, tree

pytestmark = pytest.mark.docker

CI_YAML = """
image: {image}
services:
  db:
    image: {image}
steps:
  - name: write
    run: psql -h db -U postgres -qc 'create table answers as select 40 + 2 as answer'
  - name: read
    run: psql -h db -U postgres -Atc 'select answer from answers'
"""


@pytest.fixture
def runtime() -> str:
    """Services need an engine."""
    return "docker"


@pytest.fixture
def ci(environment: dict[str, str]) -> Iterator[Start]:
    """`ci` of the user who runs the service."""
    with terminals(environment) as start:
        yield start


def test_a_project_with_a_database(ci: Start, service: Service, engine: EngineAPI, tmp_path: Path) -> None:
    project = tree(tmp_path / "project", {"ci.yaml": CI_YAML.format(image=postgresql_image(engine))})
    for _ in range(2):  # The second one finds an empty database, too.
        code, out, err = ended(ci("run", project))
        assert (code, out) == (0, b"42\n"), err
    job_id = next(line for line in err.splitlines() if line.startswith("ci: job ")).split()[2]
    code, out, err = ended(ci("logs", job_id, "--service", "db"))
    assert (code, b"ready to accept connections" in out) == (0, True), err
    code, out, err = ended(ci("logs", job_id, "--service", "cache"))
    assert (code, out) == (70, b"") or "no service cache" in err
    assert ended(ci("logs", job_id, "--service", "db", "--follow"))[0] == 64


async def test_the_end_of_the_log_of_one_that_fails(service: Service, shell_image: str, ci: Start) -> None:
    services = {"db": {"image": shell_image, "command": "echo first; echo no room >&2; exit 3"}}
    request = {"image": shell_image, "command": "sleep 60", "services": services}
    async with CiClient(service.url) as client:
        job = await finished(client, await client.create_job(request))
        assert (job["conclusion"], job["reason"]["code"]) == ("errored", "service_failed")
        first, *lines = job["reason"]["message"].splitlines()
        assert first.startswith("the service db ended with exit code 3")
        assert sorted(lines) == ["first", "no room"]
        log = b"".join([chunk async for chunk in client.log(job["job_id"], service="db")])
        assert sorted(log.splitlines()) == [b"first", b"no room"]
        with pytest.raises(ServerError, match="no service cache"):
            async for _ in client.log(job["job_id"], service="cache"):
                pass


async def test_secrets_of_a_service_are_masked(service: Service, shell_image: str) -> None:
    services = {"db": {"image": shell_image, "command": "exit 0", "env": {"POSTGRES_PASSWORD": "hunter2", "A": "b"}}}
    async with CiClient(service.url) as client:
        job_id = await client.create_job({"image": shell_image, "command": "true", "services": services})
        shown = (await finished(client, job_id))["payload"]["services"]["db"]["env"]
    assert shown == {"POSTGRES_PASSWORD": "***", "A": "b"}
