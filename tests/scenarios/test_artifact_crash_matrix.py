"""The crash matrix of artifacts: kill -9 of the controller at each change that keeping them makes.

Whatever dies, a job has all of its artifacts once it has completed, each whole, and nothing else is in the store.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.artifacts import ArtifactStore
from ci_common.artifacts.directory import DirectoryStore
from ci_common.artifacts.s3 import S3Store
from ci_common.jobs import Job, new_job_id
from ci_common.run_directory.layout import KEPT
from ci_common.spec_parts.artifacts import PlannedArtifacts
from ci_persistence.storage import Storage
from tests.contracts.artifact_store.s3_server import aws_variables, make_bucket, s3_server
from tests.contracts.artifact_store.suite import read
from tests.helpers.crash_points import Doomed, dying, play_each
from tests.helpers.installation import Installation, completed, installation_of
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import Into
from tests.scenarios.effects import is_effect

LEAVE = "mkdir out; seq 1 300000 >out/long; printf x >out/short; : >out/empty; ln -s /etc out/link; exit 3"
SIZES = {"out/empty": 0, "out/long": len("".join(f"{number}\n" for number in range(1, 300_001))), "out/short": 1}
OF_ARTIFACTS = re.compile(r"update/|file: \w+ (\S*\.artifacts(\.draft)?|artifacts|\d{6}(\.zst)?|\*)/")
COVERED = {"file: open 000000/1/before", "file: open 000001.zst/1/before", "file: rename 1.artifacts.draft/2/before"}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return installation_of(tmp_path, "process", "none")


async def submit(installation: Installation) -> Job:
    artifacts = (PlannedArtifacts(name="all", take=("out",), when="failure"),)
    return await installation.submit(LEAVE, files={"x": ""}, plan={"artifacts": artifacts})


async def is_cleaned(installation: Installation, job: Job) -> None:
    await eventually(lambda: installation.files_left(job) <= KEPT, "the job is cleaned up")


async def check(storage: Storage, store: ArtifactStore, job: Job) -> set[str]:
    """Check the artifacts of a job that has completed, and return what they are called in the store."""
    ended = await completed(storage, job.id)
    assert (ended.conclusion, ended.exit_code, ended.attempt) == ("failed", 3, 1)
    assert ended.artifacts is not None
    kept = await storage.artifacts.all_of(job.id, 1)
    assert {one.path: one.size for one in kept} == SIZES
    assert [one.path for one in ended.artifacts.left_out] == ["out/link"]
    for one in kept:
        assert hashlib.sha256(await read(store, one.key, one.size)).hexdigest() == one.sha256
    return {one.key for one in kept}


async def record(installation: Installation) -> list[str]:
    """Return the points of a clean run at which artifacts are kept, in order."""
    told = Into(installation.directory / "points")
    async with installation.storage() as storage, Doomed(installation, told, files=True):
        job = await submit(installation)
        await completed(storage, job.id)
        await is_cleaned(installation, job)
    points = told.path.read_text().splitlines()
    return [point for point in points if is_effect(point) and OF_ARTIFACTS.match(point)]


async def test_a_controller_that_dies_leaves_artifacts_whole(installation: Installation) -> None:
    points = await record(installation.another("recording"))
    assert set(points) >= COVERED, points

    async def case(number: int, point: str) -> None:
        place = installation.another(f"case-{number}")
        store = DirectoryStore(place.data.artifacts)
        async with place.storage() as storage:
            async with dying(place, point) as controller:
                job = await submit(place)
                assert await controller.end() == -9
            async with place.controller():
                await completed(storage, job.id)
                await is_cleaned(place, job)
                keys = await check(storage, store, job)
        files = {
            str(path.relative_to(place.data.artifacts)) for path in place.data.artifacts.rglob("*") if path.is_file()
        }
        assert files == keys, "nothing that a dead controller had begun is left"

    await play_each(points, case)


@contextmanager
def bucket(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a server that speaks S3, which this process and those that it starts find, and yield the URL of a bucket."""
    with s3_server(directory / "s3.log") as server:
        name = f"artifacts-{new_job_id()}"
        make_bucket(server, name)
        for variable, value in aws_variables(server).items():
            monkeypatch.setenv(variable, value)
        yield f"s3://{name}/x"


async def test_a_controller_that_dies_leaves_artifacts_in_s3_whole(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what it notes on its disk, what it sends, and what it writes."""
    with bucket(tmp_path, monkeypatch) as url:
        store = S3Store(url)
        installation = replace(installation, environment={**installation.environment, "CI_ARTIFACTS_URL": url})
        points = [point for point in await record(installation.another("recording")) if "update" not in point]
        assert any("1.artifacts" in point for point in points), points

        async def case(number: int, point: str) -> None:
            place = installation.another(f"case-{number}")
            async with place.storage() as storage:
                async with dying(place, point) as controller:
                    job = await submit(place)
                    assert await controller.end() == -9
                async with place.controller():
                    await completed(storage, job.id)
                    await is_cleaned(place, job)
                    await check(storage, store, job)
                    await storage.retention.delete([job.id])

                    async def is_gone() -> bool:
                        async with aclosing(store.jobs()) as jobs:
                            return job.id not in [each async for each in jobs]

                    await eventually(is_gone, "its artifacts go with the job")

        await play_each(points, case)
