"""What becomes of waiting workloads when controllers come and go."""

import asyncio

import pytest

from ci_common.jobs import new_job_id
from ci_common.run_directory import tickets
from ci_common.runtime_faults import RuntimeUnavailable
from ci_controller.runtime.protocol import WAITING, WorkloadKey, WorkloadSpec
from tests.helpers.fake_runtimes import PLAN, Place, make_busy_for_a_moment, take, used
from tests.helpers.waiting import eventually


async def test_what_is_taken_over_just_then_is_not_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    following, held = place.another(), []

    async def adopt_first(*_: object) -> None:
        if not held:
            held.append(await place.adopt(following))

    monkeypatch.setattr(place.writer.storage.pool, "publish", adopt_first)
    running = asyncio.create_task(following.run())
    await eventually(lambda: held, "it is taken over while the pool looks")
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    assert key in place.runtime.specs
    assert await take(following, PLAN) == key.job_id


async def test_the_next_controller_takes_over_what_waits(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    following = place.another()
    assert await place.adopt(following) == []
    assert await take(following, PLAN) == key.job_id


async def test_the_next_controller_leaves_alone_what_a_job_has_taken(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    key = WorkloadKey(new_job_id(), 1)
    workload = await take(place.pool, PLAN, key)
    assert workload is not None
    following = place.another()
    assert await place.adopt(following) == [key]
    assert await take(following, PLAN) is None
    assert place.data.waiting_run(workload).is_gate_read()


async def test_whose_it_is_is_known_after_its_directory_has_been_moved(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    key = WorkloadKey(new_job_id(), 1)
    workload = await take(place.pool, PLAN, key)
    assert workload is not None
    run = place.data.run(key.job_id, key.attempt)
    run.path.parent.mkdir(parents=True)
    place.data.waiting_run(workload).path.rename(run.path)
    following = place.another()
    assert following.workload_of(key) == WorkloadKey(workload, WAITING)
    assert await place.adopt(following) == [key]
    assert following.heard_of(WorkloadKey(workload, WAITING)) == key
    following.forget(key)
    assert following.workload_of(key) is None
    assert place.holder(workload) is None


async def test_of_two_claims_of_an_attempt_the_one_counts_that_it_runs_in(place: Place) -> None:
    """The other was made late, by a controller that had been stopped."""
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    key = WorkloadKey(new_job_id(), 1)
    own = await take(place.pool, PLAN, key)
    assert own is not None
    run = place.data.run(key.job_id, key.attempt)
    run.path.parent.mkdir(parents=True)
    place.data.waiting_run(own).path.rename(run.path)
    (late,) = (each.job_id for each in place.runtime.created if each.job_id != own)
    assert tickets.claim(place.data.pool, late, key.job_id, key.attempt)
    following = place.another()
    assert await place.adopt(following) == [key]
    assert following.workload_of(key) == WorkloadKey(own, WAITING)
    assert WorkloadKey(late, WAITING) not in place.runtime.specs, "and the other one is removed"
    assert not any(name.startswith(late) for name in place.left_in_pool())


async def test_what_was_made_and_never_offered_is_removed(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    assert tickets.withdraw(place.data.pool, key.job_id)
    following = place.another()
    assert await place.adopt(following) == []
    assert await take(following, PLAN) is None
    assert key not in place.runtime.specs


async def test_what_waits_no_more_when_the_next_controller_comes_is_removed(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    place.runtime.die(key)
    assert await place.adopt(place.another()) == []
    assert key not in place.runtime.specs
    assert not place.data.waiting_run(key.job_id).path.exists()


async def test_one_that_cannot_be_removed_holds_nothing_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    place.pool.note_starting(WorkloadKey("another", 1))  # So that no other is made.
    taken = await take(place.pool, PLAN, holder := WorkloadKey(new_job_id(), 1))
    assert taken is not None
    (stuck,) = (key for key in place.runtime.created if key.job_id != taken)
    place.runtime.die(stuck)
    lonely = place.data.waiting_run(new_job_id()).path
    lonely.mkdir()
    remove = place.runtime.remove

    async def busy(key: WorkloadKey, *, only_exited: bool = False) -> None:
        if key == stuck:
            raise RuntimeUnavailable("device or resource busy")
        await remove(key, only_exited=only_exited)

    following = place.another()
    with monkeypatch.context() as while_busy:
        while_busy.setattr(place.runtime, "remove", busy)
        assert await place.adopt(following) == [holder]
    assert not lonely.exists()
    assert await place.adopt(following) == [holder]
    assert {path.name for path in place.data.pool.iterdir() if path.is_dir()} == {taken}


async def test_what_the_engine_is_still_removing_is_not_taken_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to remove it that a controller has made is carried out, however late, when that one has gone."""
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    asked = asyncio.Event()

    async def slowly(_: WorkloadKey, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as slow:
        slow.setattr(place.runtime, "remove", slowly)
        removing = asyncio.create_task(place.pool.inventory.remove(key.job_id))
        await asked.wait()
        removing.cancel()
        await asyncio.gather(removing, return_exceptions=True)
    following = place.another()
    assert await place.adopt(following) == []
    assert await take(following, PLAN) is None
    assert key not in place.runtime.specs


async def test_what_has_no_directory_in_the_pool_is_a_stranger(place: Place) -> None:
    """It may be a job's that the database does not know."""
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    place.data.waiting_run(key.job_id).path.rename(place.data.path / "elsewhere")
    assert await place.adopt(place.another()) == [key]
    assert key in place.runtime.specs


async def test_directories_without_a_workload_go(place: Place) -> None:
    lonely = place.data.waiting_run(new_job_id()).path
    lonely.mkdir(parents=True)
    await place.adopt(place.another())
    assert not lonely.exists()


async def test_a_controller_that_leaves_leaves_nothing_waiting(place: Place) -> None:
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    await place.pool.close()
    assert place.runtime.specs == {}
    assert list(place.data.pool.iterdir()) == []


async def test_a_controller_that_leaves_leaves_nothing_that_the_engine_is_still_creating(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, goes_on, engine = asyncio.Event(), asyncio.Event(), asyncio.TaskGroup()
    create = place.runtime.create

    async def slowly(spec: WorkloadSpec) -> None:
        asked.set()
        await goes_on.wait()
        await create(spec)

    async def by_request(spec: WorkloadSpec) -> None:
        await asyncio.shield(engine.create_task(slowly(spec)))

    monkeypatch.setattr(place.runtime, "create", by_request)
    leaving = place.another()
    async with engine:
        running = asyncio.create_task(leaving.run())
        await take(leaving, PLAN)
        make_busy_for_a_moment(leaving)
        await asked.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        closing = asyncio.create_task(leaving.close())
        for _ in range(50):
            await asyncio.sleep(0)
        goes_on.set()
        await closing
    assert place.runtime.specs == {}
    assert list(place.data.pool.iterdir()) == []


async def test_a_controller_that_leaves_at_once_leaves_nothing_of_another_one_either(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    await place.another().close()
    assert await place.runtime.list_workloads() == []


async def test_one_that_leads_no_more_touches_nothing(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    place.leads = False
    await place.pool.close()
    assert WorkloadKey(key.job_id, WAITING) in place.runtime.specs
    assert place.data.waiting_run(key.job_id).is_gate_read()
