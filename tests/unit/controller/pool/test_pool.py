"""The pool while one controller leads: what waits, who gets it, and what is replaced or removed."""

import asyncio

import pytest

from ci_common.jobs import new_job_id
from ci_common.runtime_faults import RuntimeUnavailable, StartFault
from ci_controller.pool import pool as pool_module
from ci_controller.pool.inventory import workload_key
from ci_controller.runtime.protocol import WAITING, WorkloadKey
from tests.helpers.fake_runtimes import OTHER, PLAN, Place, make_busy_for_a_moment, take, used
from tests.helpers.waiting import eventually


async def test_what_was_used_waits_for_the_next_job(place: Place) -> None:
    assert await take(place.pool, PLAN) is None
    make_busy_for_a_moment(place.pool)
    await place.waiting(1)
    (key,) = place.runtime.created
    assert key.attempt == WAITING
    assert place.runtime.specs[key].profile == "one"
    assert await take(place.pool, OTHER) is None, "another profile's"
    assert await take(place.pool, PLAN) == key.job_id


async def test_nobody_gets_what_somebody_has(place: Place) -> None:
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    taken = [await take(place.pool, PLAN) for _ in range(3)]
    assert taken[2] is None
    assert len({*taken}) == 3
    assert await take(place.pool, PLAN) is None


async def test_an_attempt_that_asks_again_gets_the_same(place: Place) -> None:
    """As after a crash between the claim and what follows on it."""
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    key = WorkloadKey(new_job_id(), 1)
    workload = await take(place.pool, PLAN, key)
    assert workload is not None
    assert place.holder(workload) == (key.job_id, key.attempt)
    assert await take(place.pool, PLAN, key) == workload
    assert await take(place.another(), PLAN, key) == workload


async def test_one_that_died_after_it_was_claimed_is_released(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    key = WorkloadKey(new_job_id(), 1)
    workload = await take(place.pool, PLAN, key)
    assert workload is not None
    project = place.data.waiting_run(workload).workspace
    project.mkdir()
    place.runtime.die(workload_key(workload))
    place.pool.note_starting(key)  # So that no other is made.
    assert await take(place.pool, PLAN, key) is None
    assert not place.pool.has_claim(key)
    assert not any(name.startswith(workload) for name in place.left_in_pool())
    assert place.data.run(key.job_id, key.attempt).workspace.is_dir(), "the job has its workspace back"


async def test_a_claim_that_comes_too_late_gets_nothing(place: Place) -> None:
    """By a controller that was stopped before it, when the next one has given the container to another attempt."""
    await used(place, PLAN)
    await place.waiting(1)
    following = place.another()
    assert await place.adopt(following) == []
    key = WorkloadKey(new_job_id(), 1)
    workload = await take(following, PLAN, key)
    assert workload is not None
    assert await take(place.pool, PLAN) is None
    assert place.holder(workload) == (key.job_id, key.attempt)


async def test_no_more_wait_than_allowed(place: Place) -> None:
    await used(place, *[OTHER] * 5, *[PLAN] * 5)
    await place.waiting(2, "one")
    await place.waiting(1, "other")
    assert len(place.runtime.created) == 3


async def test_none_is_made_while_a_job_waits_for_the_engine(place: Place) -> None:
    await take(place.pool, PLAN)
    key = WorkloadKey(new_job_id(), 1)
    place.pool.note_starting(key)
    for _ in range(50):
        await asyncio.sleep(0)
    assert place.runtime.created == []
    place.pool.note_started(key)
    await place.waiting(1)


async def test_none_is_made_while_a_job_takes_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    monkeypatch.setattr(pool_module, "PAUSE_SECONDS", 3600.0)
    workload = await take(place.pool, PLAN)
    assert workload is not None
    await place.waiting(0)
    for _ in range(50):  # Making one takes a thread and the loop a few milliseconds.
        await asyncio.sleep(0.002)
    assert place.runtime.tried == 1


async def test_none_is_made_beside_a_job_that_has_begun_a_moment_ago(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "QUIET_SECONDS", 3600.0)
    await used(place, PLAN)
    await place.waiting(1)
    key = WorkloadKey(new_job_id(), 1)
    assert await place.pool.claim(key, PLAN) is not None
    await place.waiting(0)
    place.pool.note_ended(WorkloadKey(new_job_id(), 1))
    for _ in range(100):  # Longer than the pause after which one was made before.
        await asyncio.sleep(0.002)
    assert place.runtime.tried == 1
    place.pool.note_ended(key)
    await place.waiting(1)


async def test_one_that_died_is_replaced(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (first,) = place.runtime.created
    place.runtime.die(first)
    place.pool.heard_of(first)
    await eventually(lambda: len(place.runtime.created) == 2 and first not in place.runtime.specs, "it is replaced")
    await place.waiting(1)


async def test_one_whose_death_is_heard_of_is_removed(place: Place) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (first,) = place.runtime.created
    run = place.runtime.run_of(first)
    place.runtime.die(first)
    place.pool.heard_of(first)
    await eventually(lambda: first not in place.runtime.specs, "it is removed")
    await eventually(lambda: not run.path.exists(), "and its files")


async def test_want_of_memory_empties_the_pool(place: Place) -> None:
    await used(place, PLAN, PLAN)
    await place.waiting(2)
    place.memory = 5.0
    make_busy_for_a_moment(place.pool)
    await eventually(lambda: not place.runtime.specs, "nothing waits")
    held_back = (await place.writer.storage.pool.get()).held_back
    assert held_back is not None
    assert "memory" in held_back


async def test_what_a_job_takes_just_then_is_not_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await used(place, PLAN)
    await place.waiting(1)
    (key,) = place.runtime.created
    taken: list[str | None] = []

    async def take_first(*_: object) -> None:
        if not taken:
            taken.append(await take(place.pool, PLAN))

    monkeypatch.setattr(place.writer.storage.pool, "publish", take_first)
    place.memory = 5.0
    make_busy_for_a_moment(place.pool)
    await eventually(lambda: taken, "it is taken while the pool is being emptied")
    for _ in range(50):
        await asyncio.sleep(0)
    assert taken == [key.job_id]
    assert key in place.runtime.specs


async def test_what_cannot_be_made_is_not_tried_for_ever(place: Place) -> None:
    place.runtime.fault = StartFault("the image has no /bin/sh")
    await used(place, PLAN)
    await eventually(lambda: place.runtime.tried == 1, "it is tried")

    async def forgotten() -> bool:
        return not (await place.writer.storage.pool.get()).kinds

    await eventually(forgotten, "nothing is wanted")
    assert list(place.data.pool.iterdir()) == [], "and no file is left of the try"


async def test_an_engine_that_goes_leaves_nothing_half_made_for_ever(place: Place) -> None:
    place.runtime.fault = RuntimeUnavailable("no engine answers")
    await used(place, PLAN)
    await eventually(lambda: place.runtime.tried == 1, "it is tried")
    await place.waiting(0)
    await place.adopt(place.another())
    assert list(place.data.pool.iterdir()) == []


async def test_without_a_pool_nothing_is_asked_or_made(place: Place) -> None:
    place.settings = place.settings.model_copy(update={"pool_memory": 8 * 1024**2 - 1})
    none = place.another()
    place.runtime.profiles = {"one": None}
    assert await take(none, PLAN) is None
    assert await place.adopt(none) == []
