"""The crash matrix of caches: kill -9 of the controller at each change that restoring and saving one makes.

Whatever dies, a later job gets the cache that was there before or the one that the job has left, and all of it.
"""

import re
from pathlib import Path

import pytest

from ci_common.jobs import Job
from ci_common.run_directory.layout import KEPT
from ci_common.spec_parts.caches import PlannedCache
from ci_common.times import uptime
from ci_controller.gc.caches import OrphanArchives, archives
from ci_controller.gc.runner import GarbageCollector
from ci_persistence.storage import Storage
from tests.helpers.crash_points import Doomed, dying, play_each
from tests.helpers.installation import Installation, completed, installation_of
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import Into
from tests.scenarios.effects import is_effect

FILL = "mkdir -p ~/.cache/tool; cd ~/.cache/tool; for n in 1 2 3 4 5 6 7 8; do echo {} >$n; done"
SHOW = "cd ~/.cache/tool && cat * | uniq -c"
OF_CACHES = re.compile(r"(keep|note_use|drop)/|file: \w+(\.\w+)? (\S*\.(in|out|tar|caches)(\.\w+)?|caches|home)/")
COVERED = {"keep/1/before", "keep/1/after", "note_use/1/before", "file: rename 0.out/1/before"}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return installation_of(tmp_path, "process", "none")


async def submit(installation: Installation, command: str, key: str, *restore: str) -> Job:
    cache = PlannedCache(path="~/.cache/tool", key=key, restore=restore)
    return await installation.submit(command, files={"x": ""}, plan={"caches": (cache,)})


async def leave_old(installation: Installation, storage: Storage) -> None:
    """Run a job that leaves a cache with the key `old`."""
    async with installation.controller():
        job = await submit(installation, FILL.format("old"), "old")
        await completed(storage, job.id)

        async def is_kept() -> bool:
            return bool(await storage.caches.list(limit=10))

        await eventually(is_kept, "the cache is kept")


async def collect(installation: Installation, storage: Storage) -> None:
    """Remove archives without a row, now that none is about to get one."""
    collector = OrphanArchives(installation.data, storage.caches, check=lambda: None)
    collector.grace_seconds = 0.0
    await GarbageCollector([], uptime).collect(collector)


async def record(installation: Installation) -> list[str]:
    """Return the points of a clean run of a job that restores one cache and saves another, in order."""
    told = Into(installation.directory / "points")
    async with installation.storage() as storage:
        await leave_old(installation, storage)
        async with Doomed(installation, told, files=True):
            job = await submit(installation, FILL.format("new"), "new", "o")
            await completed(storage, job.id)
            await eventually(lambda: installation.files_left(job) <= KEPT, "the job is cleaned up")
    points = told.path.read_text().splitlines()
    return [point for point in points if is_effect(point) and OF_CACHES.match(point)]


async def test_a_controller_that_dies_leaves_caches_whole(installation: Installation) -> None:
    points = await record(installation.another("recording"))
    assert set(points) >= COVERED

    async def case(number: int, point: str) -> None:
        place = installation.another(f"case-{number}")
        async with place.storage() as storage:
            await leave_old(place, storage)
            async with dying(place, point) as controller:
                job = await submit(place, FILL.format("new"), "new", "o")
                assert await controller.end() == -9
            async with place.controller():
                ended = await completed(storage, job.id)
                assert (ended.conclusion, ended.attempt) == ("succeeded", 1)
                await eventually(lambda: place.files_left(job) <= KEPT, "the job is cleaned up")

                await collect(place, storage)
                kept = await storage.caches.list(limit=10)
                assert {f"{cache.id}.tar" for cache in kept} == archives(place.data)
                keys = {cache.key for cache in kept}
                assert {"old"} <= keys <= {"old", "new"}
                after = await completed(storage, (await submit(place, SHOW, "new", "o")).id)
        expected = max(keys, key=lambda key: key == "new")
        lines = place.log_of(after).decode().splitlines()
        assert lines[0].startswith(f'ci: cache ~/.cache/tool: restored from "{expected}"')
        assert lines[1].split() == ["8", expected]

    await play_each(points, case)
