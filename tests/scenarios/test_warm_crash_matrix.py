"""The crash matrix of jobs that find a container waiting: kill -9 of the controller at each effect from there on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Conclusion, Job
from ci_common.run_directory.layout import KEPT
from ci_common.spec import ExecutionPlan, Retry
from ci_common.times import utc_now
from ci_controller.gc.collectors import OrphanWorkloads
from ci_persistence.storage import Storage
from tests.helpers.crash_points import Doomed, death_of, dying, play_each
from tests.helpers.databases import IN_CONTAINERS, Databases
from tests.helpers.installation import Installation, completed, installation_of, leave_waiting, nothing_left
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import Into, cancel_and_kill, kill
from tests.scenarios.effects import is_effect
from tests.scenarios.invariants import check_invariants, is_over
from tests.scenarios.kinds import KINDS, Kind

pytestmark = IN_CONTAINERS

SUBMITTED = "the submission"
"""Stands in a recording where the job came."""

COVERED = {"update", "claim", "move_in", "drop", "opened_gate", "clear", "delete_tree", "remove"}


@pytest.fixture
def installation(tmp_path: Path, busybox_image: str, databases: Databases) -> Installation:
    """An installation in which one container waits, if one was left waiting."""
    cold = installation_of(tmp_path, "docker", busybox_image, databases)
    return replace(cold, environment={**cold.environment, "CI_POOL_SIZE": "1"})


def without_pool(installation: Installation) -> Installation:
    return replace(installation, environment={**installation.environment, "CI_POOL_SIZE": "0"})


async def has_waiting(storage: Storage) -> bool:
    return (await storage.pool.get()).waiting == 1


async def submit(kind: Kind, installation: Installation, storage: Storage) -> Job:
    """Submit a job as soon as the controller has taken over what waits for it."""

    await eventually(lambda: has_waiting(storage), "a container waits, as the controller knows")
    return await installation.submit(*kind.steps, files=kind.files)


@asynccontextmanager
async def prepared(kind: Kind, installation: Installation) -> AsyncIterator[Storage]:
    """Leave a container waiting, and yield the storage; afterwards a controller without a pool leaves nothing."""
    plan = ExecutionPlan.model_validate(installation.shell_job(*kind.steps).plan)
    await leave_waiting(installation, plan)
    async with installation.storage() as storage:
        yield storage
    none = without_pool(installation)
    async with none.runtime_of_its_own() as runtime, none.controller():
        await nothing_left(runtime)
        await eventually(lambda: list(none.data.pool.iterdir()) == [], "no waiting directory is left")


async def record(kind: Kind, installation: Installation) -> list[str]:
    """Return the points of a clean run from the job's submission on, in order."""
    told = Into(installation.directory / "points")
    async with prepared(kind, installation) as storage, Doomed(installation, told):
        job = await submit_after_mark(kind, installation, storage, told)
        ended = await is_over(installation, storage, job.id, *kind.endings)
        assert ended.start_way is StartWay.WARM
    points = told.path.read_text().splitlines()
    return [point for point in points[points.index(SUBMITTED) :] if is_effect(point) and point != SUBMITTED]


async def submit_after_mark(kind: Kind, installation: Installation, storage: Storage, told: Into) -> Job:
    job = await submit(kind, installation, storage)
    told(SUBMITTED)
    return job


async def play(kind: Kind, installation: Installation, point: str) -> None:
    """Let a controller die at `point`, and check what the next one makes of it."""
    act = cancel_and_kill if kind.cancelled_at_the_point else kill
    async with prepared(kind, installation) as storage:
        async with dying(installation, point, act) as controller:
            job = await submit(kind, installation, storage)
            await death_of(controller, point, lambda: is_over(installation, storage, job.id, *kind.endings))
        gate_was_shut = not installation.data.run(job.id, 1).is_started() and not installation.says(job, b"begin")
        async with installation.controller() as parts:
            ended = await check_invariants(installation, storage, parts.runtimes["docker"], job.id, *kind.endings)
        if kind.cancelled_at_the_point and gate_was_shut:
            assert ended.conclusion is Conclusion.CANCELLED, "a cancel before the gate is kept"


@pytest.mark.parametrize("kind", ["has_an_upload", "is_cancelled_just_then"])
async def test_a_warm_job_survives_its_controller(installation: Installation, kind: str) -> None:
    points = await record(KINDS[kind], installation.another("recording"))
    assert {point.partition("/")[0] for point in points} >= COVERED

    async def case(number: int, point: str) -> None:
        await play(KINDS[kind], installation.another(f"case-{number}"), point)

    await play_each(points, case)


async def test_a_job_whose_waiting_container_has_died_gets_another(installation: Installation) -> None:
    kind = KINDS["has_an_upload"]
    async with prepared(kind, installation) as storage:
        # The row names what the job takes, and does not say yet that it runs.
        async with dying(installation, "update/2/before", kill) as controller:
            job = await submit(kind, installation, storage)
            assert await controller.end() == -9
        async with installation.runtime_of_its_own() as runtime:
            for sighting in await runtime.list_workloads():
                await runtime.remove(sighting.key)
        async with installation.controller() as parts:
            ended = await check_invariants(installation, storage, parts.runtimes["docker"], job.id, *kind.endings)
    assert ended.start_way is StartWay.COLD


@pytest.mark.parametrize(
    "point", ["clear/1/before", "clear/1/after", "delete_tree/1/after", "remove/1/before", "remove/1/after"]
)
async def test_what_an_attempt_took_goes_though_another_follows(
    installation: Installation, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row names what an earlier attempt took, so its container is not to look like a stranger's."""
    monkeypatch.setattr(OrphanWorkloads, "grace_seconds", 3600.0)
    kind = replace(KINDS["has_an_upload"], steps=("echo run; exit 5",))
    later = Retry(max_attempts=2, backoff=3600, max_backoff=3600)
    async with prepared(kind, installation) as storage:
        async with dying(installation, point, kill) as controller:
            await eventually(lambda: has_waiting(storage), "a container waits, as the controller knows")
            job = await installation.submit(*kind.steps, files=kind.files, retry=later)
            assert await controller.end() == -9
        assert (await storage.jobs.get(job.id)).as_of(1).start_way is StartWay.WARM
        # The one that died may have had time to make the next one wait, which a controller with a pool would keep.
        async with installation.runtime_of_its_own() as runtime, without_pool(installation).controller():
            await nothing_left(runtime)
            left = installation.data.run(job.id, 1).path
            await eventually(lambda: {entry.name for entry in left.iterdir()} <= KEPT, "and none of its files")
            await storage.jobs.request_cancel(job.id, utc_now())
            await completed(storage, job.id)
