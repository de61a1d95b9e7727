"""The crash matrix of prepared environments: kill -9 of the controller at each effect of making one."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_common.environments import PlannedSetup
from ci_common.jobs import Job
from ci_common.run_directory.inputs import digest_of
from ci_controller.gc.environments import EnvironmentDirectories, ExpiredEnvironments, OrphanEnvironments
from ci_controller.runtime.docker.containers import INSTALLATION, JOB, SETUP
from ci_persistence.storage import Storage
from tests.helpers.crash_points import Doomed, dying, play_each
from tests.helpers.installation import Installation, completed, installation_of, nothing_left
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import Into
from tests.scenarios.effects import is_effect

pytestmark = pytest.mark.docker

FILES = {"deps.txt": "one\n", "other.txt": "other\n"}
SETUP_TEXT = "cat deps.txt >/made; echo the setup"
COVERED = {"make_environment", "make", "put"}


@pytest.fixture
def installation(tmp_path: Path, busybox_image: str) -> Installation:
    return installation_of(tmp_path, "docker", busybox_image)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage goes soon in controllers of this process, but not between the making of an image and its row."""
    for collector, grace in ((ExpiredEnvironments, 0.0), (OrphanEnvironments, 3.0), (EnvironmentDirectories, 0.0)):
        monkeypatch.setattr(collector, "grace_seconds", grace)
        monkeypatch.setattr(collector, "again_seconds", 0.2)
        monkeypatch.setattr(collector, "retry_seconds", 0.2)
        monkeypatch.setattr(collector, "seconds", 0.2)


async def submit(installation: Installation, text: str = SETUP_TEXT) -> Job:
    source = installation.directory / "project"
    source.mkdir(exist_ok=True)
    (source / "deps.txt").write_text(FILES["deps.txt"])
    setup = PlannedSetup(steps=1, inputs=("deps.txt",), digest=digest_of(source, ["deps.txt"]))
    return await installation.submit(text, "cat /made; echo poison >/made", files=FILES, plan={"setup": setup})


def docker(*words: str) -> list[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.split()


class Left:
    """What an installation has in the engine."""

    def __init__(self, installation_id: str) -> None:
        self._ours = f"label={INSTALLATION}={installation_id}"

    def setups(self) -> list[str]:
        """Return the containers that make environments."""
        form = f'{{{{.ID}}}}{{{{with .Label "{JOB}"}}}}-of-a-job{{{{end}}}}'
        filters = ["--filter", self._ours, "--filter", f"label={SETUP}"]
        return [name for name in docker("ps", "--all", *filters, "--format", form) if "-" not in name]

    def images(self) -> set[str]:
        filters = ["--filter", self._ours, "--filter", f"label={SETUP}"]
        return {*docker("image", "ls", "--all", "--quiet", "--no-trunc", *filters)}

    def remove_images(self) -> None:
        for image in self.images():
            docker("image", "rm", "--force", image)


@asynccontextmanager
async def watched(installation: Installation) -> AsyncIterator[tuple[Storage, Left]]:
    async with installation.storage() as storage:
        left = Left((await storage.installations.get()).id)
        try:
            yield storage, left
        finally:
            left.remove_images()


async def has_environment(storage: Storage) -> bool:
    return bool(await storage.environments.list(limit=10))


async def record(installation: Installation) -> list[str]:
    """Return the points of making an environment in a clean run, in order."""
    told = Into(installation.directory / "points")
    async with watched(installation) as (storage, _), Doomed(installation, told):
        job = await submit(installation)
        await completed(storage, job.id)
        await eventually(lambda: has_environment(storage), "an environment is made")
    points = told.path.read_text().splitlines()
    names = {"make_environment", "make", "put"}
    return [point for point in points if is_effect(point) and point.partition("/")[0] in names]


async def check_what_is_left(installation: Installation, storage: Storage, left: Left) -> None:
    """Let another controller run: every image has its row and every row its image, and nothing else is left."""
    async with installation.runtime_of_its_own() as runtime, installation.controller():
        await nothing_left(runtime)

        async def is_whole() -> Any:
            rows = {environment.reference for environment in await storage.environments.list(limit=10)}
            directory = installation.data.environments
            unfinished = list(directory.iterdir()) if directory.exists() else []
            return not left.setups() and left.images() == rows and not unfinished

        await eventually(is_whole, "images and rows belong together, and nothing is unfinished")
        again = await completed(storage, (await submit(installation)).id)
    assert again.conclusion == "succeeded"
    log = installation.log_of(again)
    assert log.endswith(b"one\n")
    assert b"poison" not in log


async def test_a_controller_that_dies_leaves_nothing_half(installation: Installation) -> None:
    points = await record(installation.another("recording"))
    assert {point.partition("/")[0] for point in points} == COVERED

    async def case(number: int, point: str) -> None:
        place = installation.another(f"case-{number}")
        async with watched(place) as (storage, left):
            async with dying(place, point) as controller:
                job = await submit(place)
                assert await controller.end() == -9
            async with place.controller():
                ended = await completed(storage, job.id)
            assert (ended.conclusion, ended.attempt) == ("succeeded", 1)
            assert place.log_of(ended) == b"the setup\none\n"
            await check_what_is_left(place, storage, left)

    await play_each(points, case)


@pytest.mark.parametrize("who", ["controller", "setup"])
async def test_a_death_while_the_setup_runs_apart(installation: Installation, who: str) -> None:
    slow = "echo the setup; [ -e other.txt ] || { echo one >/made; sleep 15; }; cat deps.txt >/made"
    async with watched(installation) as (storage, left):
        async with Doomed(installation, Into(installation.directory / "points")) as controller:
            job = await submit(installation, slow)
            await completed(storage, job.id)
            await eventually(left.setups, "the setup runs apart")
            if who == "controller":
                controller.kill()
                await controller.end()
            else:
                docker("kill", *left.setups())
                await eventually(lambda: not left.setups(), "its container is removed")
        assert await storage.environments.list(limit=10) == []
        await check_what_is_left(installation, storage, left)
