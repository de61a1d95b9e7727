"""The crash matrix of logs that move to the artifact store: kill -9 of the controller at each change that this makes.

Whatever dies, the log can be read as a whole at every moment, and in the end it is in the store and no longer here.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.artifacts.logs import log_key, times_key
from ci_common.artifacts.s3 import S3Store
from ci_common.artifacts.store import ContentLost
from ci_common.jobs import Job
from ci_persistence.storage import Storage
from tests.contracts.artifact_store.suite import read
from tests.helpers.crash_points import Doomed, dying, play_each
from tests.helpers.installation import Installation, completed, installation_of
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import Into
from tests.scenarios.effects import is_effect
from tests.scenarios.test_artifact_crash_matrix import bucket

WRITE = "seq 1 300000; exit 3"
LOG = "".join(f"{number}\n" for number in range(1, 300_001)).encode()
COVERED = {"note/1/before", "note/1/after"}


def is_of_moves(point: str) -> bool:
    return "note/" in point or ".stored" in point or bool(re.search(r"file: \w+ (log|1\.times)/", point))


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return installation_of(tmp_path, "process", "none")


async def whole_log(storage: Storage, store: S3Store, place: Installation, job: Job) -> bytes:
    """Return the log as a server would read it: here if it is here as a whole, else from the store."""
    here = place.data.run(job.id, 1).log
    if here.exists():
        return here.read_bytes()
    noted = await storage.logs.find(job.id, 1)
    assert noted is not None, "the database says where it is before it is removed here"
    return await read(store, log_key(job.id, 1), noted.bytes)


async def has_moved(place: Installation, job: Job) -> None:
    directory = place.data.job(job.id)

    def moved() -> bool:
        names = {path.name for path in directory.iterdir()}
        return not (directory / "1" / "log").exists() and "1.times" not in names and "1.stored" in names

    await eventually(moved, "the log has moved")


async def record(place: Installation) -> list[str]:
    """Return the points of a clean run at which the log is moved, in order."""
    told = Into(place.directory / "points")
    async with place.storage() as storage, Doomed(place, told, files=True):
        job = await place.submit(WRITE)
        await completed(storage, job.id)
        await has_moved(place, job)
    points = [point for point in told.path.read_text().splitlines() if is_effect(point)]
    first = points.index("note/1/before")
    return [point for point in points[first:] if is_of_moves(point)]


async def test_a_controller_that_dies_leaves_the_log_whole(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket(tmp_path, monkeypatch) as url:
        store = S3Store(url)
        moving = {"CI_ARTIFACTS_URL": url, "CI_LOG_STORE": "artifacts"}
        installation = replace(installation, environment={**installation.environment, **moving})
        points = await record(installation.another("recording"))
        assert set(points) >= COVERED, points
        assert any(".stored" in point for point in points), points

        async def case(number: int, point: str) -> None:
            place = installation.another(f"case-{number}")
            async with place.storage() as storage:
                async with dying(place, point) as controller:
                    job = await place.submit(WRITE)
                    assert await controller.end() == -9
                ended = await completed(storage, job.id)
                assert await whole_log(storage, store, place, job) == LOG
                async with place.controller():
                    await has_moved(place, job)
                assert (ended.log_bytes, ended.log_sha256) == (len(LOG), hashlib.sha256(LOG).hexdigest())
                assert await whole_log(storage, store, place, job) == LOG
                noted = await storage.logs.find(job.id, 1)
                assert noted is not None
                assert len(await read(store, times_key(job.id, 1), noted.times_bytes)) == noted.times_bytes > 0
                await storage.retention.delete([job.id])
                async with place.controller():
                    await eventually(lambda: not place.data.job(job.id).exists(), "the job is removed")
                for key, size in ((log_key(job.id, 1), noted.bytes), (times_key(job.id, 1), noted.times_bytes)):
                    with pytest.raises(ContentLost):
                        await store.open(key, size)

        await play_each(points, case)
