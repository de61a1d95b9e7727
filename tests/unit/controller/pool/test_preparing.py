"""What an attempt gets to run in: a container that waits for a job of its profile, or one of its own."""

from pathlib import Path

import pytest

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Job, State, new_job_id
from ci_common.run_directory import tickets
from ci_common.runtime_faults import StartFault
from ci_common.settings import Settings
from ci_common.system.disk import Ballast
from ci_common.times import utc_now
from ci_controller.execution.protocol import Scope
from ci_controller.execution.workloads import WorkloadExecution
from ci_controller.policy import WorkloadPhase
from ci_controller.pool import Pool
from ci_controller.runtime.protocol import WAITING, WorkloadKey
from tests.helpers.fake_runtimes import PLAN, Place, used
from tests.helpers.waiting import eventually


def executing(place: Place, pool: Pool) -> WorkloadExecution:
    return WorkloadExecution(
        Settings(),
        pool.inventory.runtime,
        place.data,
        utc_now,
        watcher=place.watcher,
        check=place.check,
        ballast=Ballast(place.data.path / "db"),
        pool=pool,
    )


@pytest.fixture
def execution(place: Place) -> WorkloadExecution:
    return executing(place, place.pool)


def job(place: Place, *, has_upload: bool = False) -> Job:
    made = Job(
        id=new_job_id(),
        type="container",
        submit_time=utc_now(),
        state=State.STARTING,
        plan=PLAN.model_dump(mode="json"),
        has_upload=has_upload,
    )
    if has_upload:
        workspace = place.data.run(made.id, 1).workspace
        workspace.mkdir(parents=True)
        (workspace / "text").write_text("hello")
    return made


async def one_waits(place: Place) -> WorkloadKey:
    await used(place, PLAN)
    await place.waiting(1)
    return next(key for key in place.runtime.specs if key.attempt == WAITING)


async def way_of(execution: WorkloadExecution, job: Job) -> tuple[WorkloadPhase, StartWay]:
    seen = await execution.observe(job)
    return seen.phase, seen.start_way


@pytest.mark.parametrize("has_upload", [False, True])
async def test_an_attempt_takes_what_waits(place: Place, execution: WorkloadExecution, has_upload: bool) -> None:
    waiting, starting = await one_waits(place), job(place, has_upload=has_upload)
    for _ in range(2):
        await execution.prepare(starting)
        assert await way_of(execution, starting) == (WorkloadPhase.AT_GATE, StartWay.WARM)
    run = place.data.run(starting.id, 1)
    assert run.job.exists()
    assert (run.workspace / "text").exists() == has_upload
    assert WorkloadKey(starting.id, 1) not in place.runtime.specs
    assert waiting in place.runtime.specs


async def test_an_attempt_gets_its_own_where_nothing_waits(place: Place, execution: WorkloadExecution) -> None:
    starting = job(place)
    await execution.prepare(starting)
    assert place.runtime.specs.keys() == {WorkloadKey(starting.id, 1)}
    await execution.start(starting)
    assert await way_of(execution, starting) == (WorkloadPhase.AT_GATE, StartWay.COLD)


async def test_the_next_controller_knows_what_was_taken(place: Place, execution: WorkloadExecution) -> None:
    waiting, starting = await one_waits(place), job(place)
    await execution.prepare(starting)
    following = executing(place, place.another())
    assert await way_of(following, starting) == (WorkloadPhase.AT_GATE, StartWay.WARM)
    assert WorkloadKey(starting.id, 1) in await following.list()
    await following.clean_up(starting.with_changes(state=State.COMPLETED, end_time=utc_now()))
    assert waiting not in place.runtime.specs
    assert place.holder(waiting.job_id) is None


@pytest.mark.parametrize("moved", [False, True])
async def test_what_was_taken_and_has_died_is_replaced(place: Place, execution: WorkloadExecution, moved: bool) -> None:
    waiting, starting = await one_waits(place), job(place, has_upload=True)
    if moved:
        await execution.prepare(starting)
    else:
        assert await place.pool.claim(WorkloadKey(starting.id, 1), PLAN) == waiting
    place.runtime.die(waiting)
    await execution.prepare(starting)
    assert waiting not in place.runtime.specs
    assert place.holder(waiting.job_id) is None
    await execution.start(starting)
    assert await way_of(execution, starting) == (WorkloadPhase.AT_GATE, StartWay.COLD)
    assert (place.data.run(starting.id, 1).workspace / "text").read_text() == "hello"


@pytest.mark.parametrize("scope", [Scope.WORKLOAD, Scope.ALL])
async def test_what_was_claimed_and_never_taken_into_use_goes_with_its_attempt(
    place: Place, execution: WorkloadExecution, scope: Scope
) -> None:
    waiting, starting = await one_waits(place), job(place)
    assert await place.pool.claim(WorkloadKey(starting.id, 1), PLAN) == waiting
    cancelled = starting.with_changes(state=State.COMPLETED, end_time=utc_now())
    assert not (await execution.observe(cancelled)).cleaned
    await execution.clean_up(cancelled, scope)
    assert (await execution.observe(cancelled)).cleaned
    assert waiting not in place.runtime.specs
    assert not any(name.startswith(waiting.job_id) for name in place.left_in_pool())


async def test_a_late_claim_changes_nothing_for_an_attempt_that_has_its_own(
    place: Place, execution: WorkloadExecution
) -> None:
    """By a controller that was stopped just before it."""
    starting = job(place)
    place.runtime.profiles = {"one": None}
    await execution.prepare(starting)
    place.pool.note_started(WorkloadKey(starting.id, 1))
    place.runtime.profiles = {}
    waiting = await one_waits(place)
    assert tickets.claim(place.data.pool, waiting.job_id, starting.id, 1)
    following = executing(place, place.another())
    assert WorkloadKey(starting.id, 1) in await following.list()
    await following.start(starting)
    assert await way_of(following, starting) == (WorkloadPhase.AT_GATE, StartWay.COLD)
    await following.clean_up(starting.with_changes(state=State.COMPLETED, end_time=utc_now()))
    assert place.runtime.specs == {}
    assert not any(name.startswith(waiting.job_id) for name in place.left_in_pool())


async def test_a_project_that_has_gone_is_not_looked_for_in_what_waits(
    place: Place, execution: WorkloadExecution, tmp_path: Path
) -> None:
    await one_waits(place)
    starting = job(place, has_upload=True)
    run = place.data.run(starting.id, 1)
    run.workspace.rename(tmp_path / "elsewhere")
    with pytest.raises(StartFault, match="is gone from the data directory"):
        await execution.prepare(starting)


async def test_something_in_the_way_gets_a_container_of_its_own(place: Place, execution: WorkloadExecution) -> None:
    waiting, starting = await one_waits(place), job(place)
    run = place.data.run(starting.id, 1)
    run.path.mkdir(parents=True)
    run.log.touch()
    await execution.prepare(starting)
    await eventually(lambda: WorkloadKey(starting.id, 1) in place.runtime.specs, "it has its own")
    assert place.data.waiting_run(waiting.job_id).is_gate_read()
