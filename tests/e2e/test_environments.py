"""Prepared environments: the second job starts from what the setup of the first one made, and from nothing else."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ci_client.aio import CiClient
from tests.helpers.service import Service, finished, tree
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = pytest.mark.docker

SETUP = {"run": "cat deps.txt >/made; date +%s%N >>/made; echo the setup runs", "inputs": ["deps.txt"]}
STEP = "cat /made; cat /other 2>/dev/null; echo poison >/other; echo poison >>/made"


@pytest.fixture
def runtime() -> str:
    """These tests are about one runtime."""
    return "docker"


@pytest.fixture
def environment(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Environments that the test has made are removed at its end."""
    yield {**environment, "CI_POOL_SIZE": "2"}
    for name in images_of(own_label(environment)):
        subprocess.run(["docker", "image", "rm", "--force", name], capture_output=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tree(tmp_path / "project", {"deps.txt": "one\n", "other.txt": "x"})


class Runs:
    """Jobs of one project."""

    def __init__(self, client: CiClient, project: Path, image: str) -> None:
        self.client = client
        self.project = project
        self.image = image

    async def run(self, command: str = STEP, **spec: Any) -> tuple[dict[str, Any], str]:
        """Return a job that has ended, and its log."""
        wish = {"image": self.image, "command": command, "setup": SETUP, **spec}
        job_id = await self.client.submit(self.project, spec=wish)
        job = await finished(self.client, job_id)
        return job, b"".join([chunk async for chunk in self.client.log(job_id)]).decode()

    async def prepared(self, number: int = 1) -> list[dict[str, Any]]:
        """Return the environments once there are so many."""

        async def there() -> list[dict[str, Any]] | None:
            found = await self.client.environments()
            return found if len(found) == number else None

        found = await eventually(there, f"{number} environments are prepared")
        assert found is not None
        return found

    async def warm(self, reference: str) -> None:
        """Return once a container of the environment waits."""

        async def there() -> bool:
            kinds = (await self.client.pool())["kinds"]
            return any(kind["image"] == reference and kind["waiting"] for kind in kinds)

        await eventually(there, "a container of the environment waits")


def ci(service: Service, *words: str) -> str:
    """Return what `ci env` writes."""
    command = [sys.executable, "-m", "ci_cli", "env", *words, "--server", service.url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def images_of(*labels: str) -> list[str]:
    """Return the images that have all of these labels."""
    filters = [word for label in labels for word in ("--filter", f"label={label}")]
    command = ["docker", "image", "ls", "--all", "--quiet", "--no-trunc", *filters]
    return sorted({*subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()})


def own_label(environment: dict[str, str]) -> str:
    """Return the label of what belongs to the installation."""
    with closing(sqlite3.connect(environment["CI_DB_PATH"])) as database:
        ((installation,),) = database.execute("SELECT id FROM installation").fetchall()
    return f"ci-server.installation={installation}"


@pytest.fixture
async def runs(service: Service, project: Path, shell_image: str) -> Any:
    async with CiClient(service.url) as client:
        yield Runs(client, project, shell_image)


async def test_the_second_job_starts_from_what_the_setup_made(runs: Runs) -> None:
    first, log = await runs.run()
    assert first["conclusion"] == "succeeded"
    assert first["environment"]["hit"] is False
    assert log.startswith("the setup runs\none\n")
    (made,) = await runs.prepared()
    assert made["key"] == first["environment"]["key"]
    await runs.warm(made["reference"])

    (runs.project / "other.txt").write_text("edited")
    second, log = await runs.run()
    assert second["environment"]["hit"] is True
    assert second["environment"]["key"] == made["key"]
    assert second["environment"]["created"] == made["created"]
    assert second["start_way"] == "warm"
    assert [step["name"] for step in second["steps"]] == ["setup", "command"]
    note, *rest = log.splitlines()
    assert note.startswith(f"ci: starts from the prepared environment {made['key'][:12]}, made ")
    # Of what the first job's own steps wrote, nothing is there.
    assert rest[0] == "one"
    assert "poison" not in log


async def test_other_inputs_are_another_environment(runs: Runs) -> None:
    first, _ = await runs.run()
    await runs.prepared()
    (runs.project / "deps.txt").write_text("two\n")
    second, log = await runs.run()
    assert second["environment"]["hit"] is False
    assert second["environment"]["key"] != first["environment"]["key"]
    assert "two\n" in log
    third, _ = await runs.run(project="another")
    assert third["environment"]["key"] != second["environment"]["key"]
    assert third["environment"]["hit"] is False


async def test_a_job_cannot_change_what_others_start_from(runs: Runs) -> None:
    """The inputs in the workspace are the job's own once it runs; the copy was taken before."""
    poison = {"run": "cat deps.txt >/made; cat other.txt >>/made || true", "inputs": ["deps.txt"]}
    (runs.project / "other.txt").write_text("poison\n")
    _, log = await runs.run("echo poison >deps.txt; cat /made", setup=poison)
    assert "poison" in log  # Its own container has what its setup made there.
    await runs.prepared()
    (runs.project / "other.txt").unlink()
    second, log = await runs.run("cat /made; id", setup=poison)
    assert second["environment"]["hit"] is True
    assert "one" in log
    assert "poison" not in log


async def test_a_setup_that_fails_keeps_nothing(runs: Runs) -> None:
    failing = {"run": "echo made >/made; exit 7", "inputs": ["deps.txt"]}
    job, _ = await runs.run(setup=failing)
    assert (job["conclusion"], job["exit_code"]) == ("failed", 7)
    assert (job["steps"][0]["name"], job["steps"][0]["status"]) == ("setup", "failed")
    assert {step["status"] for step in job["steps"][1:]} == {"skipped"}
    again, _ = await runs.run(setup=failing)
    assert again["environment"]["hit"] is False
    assert await runs.client.environments() == []


async def test_a_setup_that_needs_more_than_its_inputs_is_not_kept_and_says_so(runs: Runs) -> None:
    needing = {"run": "cat other.txt >/made", "inputs": ["deps.txt"]}
    first, _ = await runs.run(setup=needing)
    assert first["conclusion"] == "succeeded"

    async def says_so() -> bool:
        job, log = await runs.run(setup=needing)
        assert (job["conclusion"], job["environment"]["hit"]) == ("succeeded", False)
        return log.startswith("ci: no environment is kept of this setup: the setup ended with exit code 1")

    await eventually(says_so, "the log says that nothing is kept")


async def test_a_setup_that_writes_into_the_workspace_is_not_kept(runs: Runs) -> None:
    writing = {"run": "echo made >made.txt", "inputs": ["deps.txt"]}

    async def says_so() -> bool:
        job, log = await runs.run("cat made.txt", setup=writing)
        assert (job["conclusion"], job["environment"]["hit"]) == ("succeeded", False)
        return "the setup writes 'made.txt' into the project's directory" in log

    await eventually(says_so, "the log says that nothing is kept")


async def test_a_fresh_job_makes_it_again(runs: Runs) -> None:
    await runs.run()
    (before,) = await runs.prepared()
    fresh, log = await runs.run(fresh=True)
    assert fresh["environment"]["hit"] is False
    assert log.startswith("the setup runs")

    async def replaced() -> bool:
        (after,) = await runs.client.environments()
        return bool(after["reference"] != before["reference"] and after["key"] == before["key"])

    await eventually(replaced, "the environment is made again")


async def test_one_that_is_removed_is_not_used(runs: Runs, service: Service) -> None:
    await runs.run()
    (made,) = await runs.prepared()
    assert [each["key"] for each in json.loads(ci(service, "list", "--json"))] == [made["key"]]
    assert made["setup"] in ci(service, "show", made["key"][:12])
    ci(service, "remove", made["key"])
    assert await runs.client.environments() == []
    job, _ = await runs.run()
    assert job["environment"]["hit"] is False


async def test_jobs_that_come_together_make_it_once(runs: Runs, environment: dict[str, str]) -> None:
    jobs = await asyncio.gather(*(runs.run() for _ in range(4)))
    assert {job["environment"]["key"] for job, _ in jobs} == {jobs[0][0]["environment"]["key"]}
    (made,) = await runs.prepared()
    assert images_of(own_label(environment), f"ci-server.setup={made['key']}") == [made["reference"]]


async def test_an_environment_is_no_image_for_other_jobs(runs: Runs) -> None:
    await runs.run()
    (made,) = await runs.prepared()
    job, _ = await runs.run(image=made["reference"], setup=None)
    assert job["conclusion"] == "errored"


def test_without_a_server_it_is_made_while_the_command_ends(
    environment: dict[str, str], shell_image: str, tmp_path: Path
) -> None:
    ci_yaml = f"image: {shell_image}\nsetup: {{run: cat deps.txt >/made, inputs: [deps.txt]}}\nsteps: [cat /made]\n"
    project = tree(tmp_path / "project", {"deps.txt": "one\n", "ci.yaml": ci_yaml})
    command = [sys.executable, "-m", "ci_cli", "run", str(project)]
    own = {**os.environ, **environment, "CI_POOL_SIZE": "0"}

    def run() -> str:
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
        return done.stdout

    def is_preparing() -> bool:
        processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        data = Path(environment["CI_DB_PATH"]).with_suffix(".data") / "environments"
        return "--until-prepared" in processes and any(data.iterdir())

    assert run() == "one\n"
    deadline = time.monotonic() + PATIENCE
    while is_preparing() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run().startswith("ci: starts from the prepared environment")
