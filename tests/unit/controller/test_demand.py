"""How many waiting workloads are wanted."""

from datetime import UTC, datetime

from ci_common.spec import ExecutionPlan
from ci_controller.pool.demand import BURST_SECONDS, HALF_LIFE_SECONDS, MEMORY_BYTES, SERVICE_BYTES, Demand
from tests.helpers.scripts import plan_of, shell_steps

PLAN = plan_of(*shell_steps("true"))
DAY = datetime(2026, 1, 1, tzinfo=UTC)


def demand(most: int = 10, forget_after: float = 10_000.0) -> Demand:
    return Demand(most=most, forget_after=forget_after)


def used(learnt: Demand, profile: str, *times: float) -> None:
    for time in times:
        learnt.record_start(profile, PLAN, time, DAY)


def test_nothing_is_wanted_before_anything_was_used() -> None:
    assert demand().wanted(0, 100) == {}
    assert demand().plan_of("a") is None


def test_one_is_wanted_of_what_is_used_one_after_the_other() -> None:
    learnt = demand()
    used(learnt, "a", 0, BURST_SECONDS + 1, 2 * BURST_SECONDS + 2)
    assert learnt.wanted(100, 100) == {"a": 1}
    assert learnt.plan_of("a") is PLAN
    assert learnt.last_time("a") == DAY


def test_as_many_are_wanted_as_were_used_at_once() -> None:
    learnt = demand()
    used(learnt, "a", *[0.1] * 7)
    used(learnt, "a", 50)
    assert learnt.wanted(60, 100) == {"a": 7}


def test_a_burst_is_forgotten_by_halves() -> None:
    learnt = demand()
    used(learnt, "a", *[0.0] * 8)
    halves = [learnt.wanted(n * HALF_LIFE_SECONDS + 1, 100)["a"] for n in range(6)]
    assert halves == [8, 4, 2, 1, 1, 1]


def test_never_more_of_one_profile_than_allowed() -> None:
    learnt = demand(most=3)
    used(learnt, "a", *[0.0] * 8)
    assert learnt.wanted(1, 100) == {"a": 3}


def test_the_room_goes_to_what_was_used_last() -> None:
    learnt = demand()
    used(learnt, "old", *[0.0] * 3)
    used(learnt, "new", *[1.0] * 3)
    assert learnt.wanted(2, 4) == {"new": 3, "old": 1}
    assert learnt.wanted(2, 3) == {"new": 3}
    assert learnt.wanted(2, 0) == {}


def test_what_nobody_uses_any_more_is_forgotten() -> None:
    learnt = demand(forget_after=100)
    used(learnt, "a", 0.0)
    used(learnt, "b", 50.0)
    assert learnt.wanted(120, 10) == {"b": 1}
    assert learnt.plan_of("a") is None


def test_what_was_found_waiting_is_wanted_and_cannot_be_made() -> None:
    learnt = demand()
    learnt.record_adopted("a", 2, 5.0)
    assert learnt.wanted(6, 10) == {"a": 2}
    assert learnt.plan_of("a") is None
    assert learnt.last_time("a") is None


def test_what_cannot_be_made_is_dropped_until_it_is_used_again() -> None:
    learnt = demand()
    used(learnt, "a", 0.0)
    learnt.drop("a")
    learnt.drop("never seen")
    assert learnt.wanted(1, 10) == {}
    used(learnt, "a", 2.0)
    assert learnt.wanted(3, 10) == {"a": 1}


def test_services_that_wait_take_room_and_memory() -> None:
    limited = {"image": "db", "limits": {"memory": 100 * MEMORY_BYTES}}
    served = ExecutionPlan.model_validate(PLAN.model_dump() | {"services": {"db": {"image": "db"}, "big": limited}})
    learnt = demand()
    for _ in range(4):
        learnt.record_start("served", served, 1, DAY)
    one = MEMORY_BYTES + SERVICE_BYTES + 100 * MEMORY_BYTES
    assert learnt.wanted(1, 100) == {"served": 4}
    assert learnt.wanted(1, 8) == {"served": 2}
    assert learnt.wanted(1, 100, 3 * one) == {"served": 3}
    assert learnt.wanted(1, 2) == {}
    assert learnt.wanted(1, 100, one - 1) == {}
