"""kill -9 of the controller before and after each of its effects, for each kind of job.

What the effects are, a clean run tells; so one that is added is covered without being named here. To see one case
by itself, give its point to crashing_controller.py.
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_common.jobs import Conclusion, Job
from ci_persistence.storage import Storage
from tests.helpers.crash_points import Doomed, death_of, dying, play_each
from tests.helpers.databases import ON_BOTH, Place
from tests.helpers.installation import Installation, completed, installation_of
from tests.helpers.waiting import eventually
from tests.scenarios.crashing_controller import Into, cancel_and_kill, kill
from tests.scenarios.effects import FILE, is_effect
from tests.scenarios.invariants import Ending, check_invariants, is_over
from tests.scenarios.kinds import KINDS, Kind, cancel

VISIT = "the visit"
"""Stands in a recording where something was done to the job."""

AS_IT_GROWS = re.compile(r"(\.times|open lock)/(?!1/)")
"""Points that come as often as a log that grows is looked at, or a supervisor's end is waited for: one run has more of
them than another."""

COVERED = {"acquire", "update", "prepare", "create", "start", "opened_gate", "delete_tree", "remove"}
"""Effects that every run has, lest a recording that misses them passes for a matrix."""


async def visit(
    kind: Kind,
    installation: Installation,
    storage: Storage,
    job: Job,
    before: Callable[[], None] = lambda: None,
    too_late: Callable[[], bool] = lambda: False,
) -> bool:
    """Once the job's code is up, do to it what happens to its kind, and call `before` just before that.

    Return False where it was not up before it was `too_late`.
    """
    if kind.visit is None:
        return True

    def is_up() -> bool:
        return installation.says(job, b"up\n")

    await eventually(lambda: is_up() or too_late(), "the job is up")
    if not is_up():
        return False
    before()
    await kind.visit(installation, storage, job)
    return True


async def record(kind: Kind, installation: Installation, *, files: bool) -> list[str]:
    """Return the points of a clean run, and VISIT among them, in order."""
    record = Into(installation.directory / "points")
    job = await installation.submit(*kind.steps, files=kind.files, plan=kind.plan(installation))
    async with installation.storage() as storage, Doomed(installation, record, files=files):
        await visit(kind, installation, storage, job, before=lambda: record(VISIT))
        await is_over(installation, storage, job.id, *kind.endings)
    return [point for point in record.path.read_text().splitlines() if is_effect(point)]


async def play(kind: Kind, installation: Installation, point: str, *, visited: bool) -> None:
    """Let a controller die at `point`, and check what the next one makes of it.

    `visited`: it was after VISIT in the recording, as what goes on beside the job's beginning may be or not.
    """
    job = await installation.submit(*kind.steps, files=kind.files, plan=kind.plan(installation))
    act = cancel_and_kill if kind.cancelled_at_the_point else kill
    async with installation.storage() as storage, dying(installation, point, act) as controller:
        if visited:
            visited = await visit(kind, installation, storage, job, too_late=controller.has_ended)
        await death_of(controller, point, lambda: is_over(installation, storage, job.id, *kind.endings))
        gate_was_shut = not installation.data.run(job.id, 1).is_started() and not installation.says(job, b"begin")
        async with installation.controller() as parts:
            if not visited:
                await visit(kind, installation, storage, job)
            runtime = parts.runtimes[installation.runtime]
            ended = await check_invariants(installation, storage, runtime, job.id, *kind.endings)
        if kind.cancelled_at_the_point and gate_was_shut:
            assert ended.conclusion is Conclusion.CANCELLED, "a cancel before the gate is kept"


async def play_all(kind: Kind, installation: Installation, *, files: bool) -> list[str]:
    """Play every case that a recording gives, and return its points. Raises ExceptionGroup of what failed."""
    points = await record(kind, installation.another("recording"), files=files)
    if files:
        again = await record(kind, installation.another("again"), files=files)
        told = {point for point in again if point.startswith(FILE) and not AS_IT_GROWS.search(point)}
        points = [point for point in points if point in told]

    async def case(number: int, point: str) -> None:
        await play(kind, installation.another(f"case-{number}"), point, visited=point in late)

    late = points[points.index(VISIT) :] if VISIT in points else []
    await play_each([point for point in points if point != VISIT], case)
    return points


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.needs_container])
@ON_BOTH
async def test_a_job_survives_its_controller(installation: Installation, kind: str) -> None:
    await check_deaths(installation, kind)


@pytest.mark.docker
@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.needs_container])
@pytest.mark.parametrize("place", [Place("docker")], ids=["docker-sqlite"])
async def test_what_has_a_container_survives_its_controller(installation: Installation, kind: str) -> None:
    await check_deaths(installation, kind)


async def check_deaths(installation: Installation, kind: str) -> None:
    points = await play_all(KINDS[kind], installation, files=False)
    stopped = {"stop"} if KINDS[kind].visit is cancel else set()
    served = {"make_network", "make", "remove_network"} if KINDS[kind].service else set()
    assert {point.partition("/")[0] for point in points} >= COVERED | stopped | served


@pytest.mark.docker
@pytest.mark.parametrize("place", [Place("docker", "postgresql")], ids=["docker-postgresql"])
async def test_a_job_in_a_container_survives_its_controller_too(installation: Installation) -> None:
    await play_all(KINDS["has_an_upload"], installation, files=False)


@pytest.mark.parametrize("kind", ["ends_at_once", "has_an_upload"])
async def test_a_job_survives_the_death_of_its_controller_between_any_two_changes_of_files(
    tmp_path: Path, kind: str
) -> None:
    installation = installation_of(tmp_path, "process", "none")
    points = await play_all(KINDS[kind], installation, files=True)
    assert {f"{FILE}mkdir workspace/1/before", f"{FILE}open gate/1/before", f"{FILE}remove exit/1/before"} <= {*points}


@ON_BOTH
async def test_what_ended_while_nobody_looked_has_its_true_result(installation: Installation) -> None:
    job = await installation.submit("echo one; sleep 0.3; echo two; exit 4")
    crashing = installation.start_crashing_controller("no_such_call/1/before")
    async with installation.storage() as storage:
        await eventually(lambda: installation.says(job, b"one\n"), "the job is up")
        crashing.kill()
        await asyncio.to_thread(crashing.wait, 60)
        run = installation.data.run(job.id, 1)
        await eventually(lambda: run.read_exit() is not None, "the script has ended")
        async with installation.controller() as parts:
            runtime = parts.runtimes[installation.runtime]
            ending = Ending(Conclusion.FAILED, 4, b"one\ntwo\n")
            await check_invariants(installation, storage, runtime, job.id, ending)


@ON_BOTH
async def test_a_standby_takes_over_at_once_from_a_leader_that_was_killed(installation: Installation) -> None:
    leader = installation.start_crashing_controller("no_such_call/1/before")
    async with installation.storage() as storage:
        first = await installation.submit("echo first")
        await completed(storage, first.id)
        async with installation.controller():
            leader.kill()
            await asyncio.to_thread(leader.wait, 60)
            second = await installation.submit("echo second")
            assert (await completed(storage, second.id)).conclusion is Conclusion.SUCCEEDED
