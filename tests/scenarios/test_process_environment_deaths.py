"""Environments of processes when the controller is killed while it makes, keeps, copies or gives one."""

import os
from pathlib import Path

import pytest

from ci_common.environments import PlannedSetup
from ci_common.jobs import Job
from ci_common.run_directory.inputs import digest_of
from ci_controller.gc.environments import EnvironmentDirectories, ExpiredEnvironments, OrphanEnvironments
from ci_persistence.storage import Storage
from tests.helpers.crash_points import dying
from tests.helpers.installation import Installation, completed, installation_of
from tests.helpers.waiting import eventually

MAKING = [
    "make_environment/1/before",
    "make_environment/1/after",
    "file: open record.json.new/1/before",
    "file: rename record.json.new/1/before",
    "put/1/after",
]
GIVING = ["create/1/before", "file: rename spare/1/before", "file: rename place.ci-new/1/before", "create/1/after"]
SETUP = 'echo one >"$CI_ENV/made"; echo "$CI_ENV" >"$CI_ENV/place"; echo the setup'
STEP = (
    'cat "$CI_ENV/made"; [ "$(cat "$CI_ENV/place")" = "$CI_ENV" ] || echo another place; echo poison >>"$CI_ENV/made"'
)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return installation_of(tmp_path, "process", "none")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage goes soon in controllers of this process, but not between the making of a tree and its row."""
    for collector, grace in ((ExpiredEnvironments, 0.0), (OrphanEnvironments, 3.0), (EnvironmentDirectories, 0.0)):
        monkeypatch.setattr(collector, "grace_seconds", grace)
        monkeypatch.setattr(collector, "again_seconds", 0.2)
        monkeypatch.setattr(collector, "retry_seconds", 0.2)
        monkeypatch.setattr(collector, "seconds", 0.2)


async def submit(installation: Installation) -> Job:
    setup = PlannedSetup(steps=1, digest=digest_of(Path(), ()))
    return await installation.submit(SETUP, STEP, files={"a": ""}, plan={"setup": setup})


async def check(installation: Installation, storage: Storage) -> None:
    """Let another controller run: environments are whole and have their rows, and nothing else is left."""
    async with installation.controller():
        await eventually(lambda: storage.environments.list(limit=10), "an environment is there")
        again = await completed(storage, (await submit(installation)).id)
        assert again.conclusion == "succeeded"
        assert installation.log_of(again).endswith(b"\none\n")
        trees = installation.data.trees

        async def is_clean() -> bool:
            rows = {environment.reference for environment in await storage.environments.list(limit=10)}
            unfinished = installation.data.environments
            records = [name for name in os.listdir(installation.data.processes) if name != "ended"]
            made = not unfinished.exists() or not os.listdir(unfinished)
            return set(os.listdir(trees)) == rows and len(rows) == 1 and made and not records

        await eventually(is_clean, "each environment has its row, and nothing is left")


@pytest.mark.parametrize("point", MAKING)
async def test_a_death_while_an_environment_is_made(installation: Installation, point: str) -> None:
    async with installation.storage() as storage:
        async with dying(installation, point) as controller:
            job = await submit(installation)
            assert await controller.end() == -9
        async with installation.controller():
            ended = await completed(storage, job.id)
        assert (ended.conclusion, ended.attempt) == ("succeeded", 1)
        assert installation.log_of(ended) == b"the setup\none\n"
        await check(installation, storage)


@pytest.mark.parametrize("point", GIVING)
async def test_a_death_while_a_job_is_given_its_copy(installation: Installation, point: str) -> None:
    async with installation.storage() as storage:
        async with installation.controller():
            await completed(storage, (await submit(installation)).id)
            await eventually(lambda: storage.environments.list(limit=10), "an environment is there")
            (environment,) = await storage.environments.list(limit=10)
            spare = installation.data.trees / environment.reference / "spare"
            await eventually(spare.is_dir, "a spare copy is made")
        async with dying(installation, point) as controller:
            job = await submit(installation)
            assert await controller.end() == -9
        async with installation.controller():
            ended = await completed(storage, job.id)
        assert (ended.conclusion, ended.attempt) == ("succeeded", 1)
        assert installation.log_of(ended).endswith(b"\none\n")
        await check(installation, storage)
