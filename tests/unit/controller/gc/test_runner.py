"""The rules that all collectors follow."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from ci_common.errors import CiError
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.times import uptime
from ci_controller.gc.runner import FOUND_TWICE, Collector, GarbageCollector
from tests.helpers.jobs import SetUptime
from tests.helpers.waiting import eventually


class Rubbish(Collector[str]):
    """Finds what the test says, and fails where it says so."""

    name = "rubbish"
    retry_seconds = 10.0

    def __init__(self, *found: str, grace: float = 0.0) -> None:
        self.found = [list(found)]
        self.grace_seconds = grace
        self.fault: Exception | None = None
        self.stuck: set[str] = set()
        self.removed: list[str] = []
        self.rounds = 0

    async def find(self) -> AsyncGenerator[list[str], None]:
        self.rounds += 1
        for batch in self.found:
            yield batch
        if self.fault is not None:
            raise self.fault

    async def remove_one(self, item: str) -> None:
        if item in self.stuck:
            raise RuntimeUnavailable("device or resource busy")
        self.removed.append(item)


@pytest.fixture
def time() -> SetUptime:
    return SetUptime()


async def test_garbage_is_removed_once_it_has_been_found_for_the_grace_period(time: SetUptime) -> None:
    rubbish, runner = Rubbish("a", grace=60.0), GarbageCollector([], time)
    for passing in (0.0, 59.0):
        time.seconds += passing
        await runner.collect(rubbish)
        assert rubbish.removed == []
    rubbish.found = []
    await runner.collect(rubbish)
    rubbish.found = [["a"]]
    time.seconds += 1
    await runner.collect(rubbish)
    assert rubbish.removed == [], "it was none in between"
    time.seconds += 60
    await runner.collect(rubbish)
    assert rubbish.removed == ["a"]


async def test_what_cannot_be_seen_for_a_round_is_garbage_as_before_but_no_more(time: SetUptime) -> None:
    rubbish, runner = Rubbish("a", grace=60.0), GarbageCollector([], time)
    await runner.collect(rubbish)
    time.seconds += 60
    rubbish.found, rubbish.fault = [], RuntimeUnavailable("gone")
    await runner.collect(rubbish)
    assert rubbish.removed == []
    rubbish.found, rubbish.fault = [["a"]], None
    await runner.collect(rubbish)
    assert rubbish.removed == ["a"]


async def test_found_twice(time: SetUptime) -> None:
    rubbish, runner = Rubbish("a", grace=FOUND_TWICE), GarbageCollector([], time)
    await runner.collect(rubbish)
    assert rubbish.removed == []
    time.seconds += 1
    await runner.collect(rubbish)
    assert rubbish.removed == ["a"]


async def test_the_next_round_may_come_sooner_while_something_is_in_its_grace_period() -> None:
    rubbish = Rubbish("a", grace=0.05)
    rubbish.again_seconds = 0.1
    task = asyncio.create_task(GarbageCollector([rubbish], uptime).run())
    await eventually(lambda: rubbish.removed == ["a"], "it is removed in a second round")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rubbish.rounds == 2, "the one after that is an hour later"


async def test_what_is_stuck_holds_up_nothing_else_and_is_left_alone_for_a_while(time: SetUptime) -> None:
    rubbish, runner = Rubbish("a", "b"), GarbageCollector([], time)
    rubbish.stuck = {"a"}
    await runner.collect(rubbish)
    assert rubbish.removed == ["b"]
    rubbish.stuck, rubbish.found = set(), [["a"]]
    await runner.collect(rubbish)
    assert rubbish.removed == ["b"]
    time.seconds += rubbish.retry_seconds
    await runner.collect(rubbish)
    assert rubbish.removed == ["b", "a"]


@pytest.mark.parametrize("fault", [CiError("no"), OSError(5, "Input/output error")])
async def test_a_collector_that_fails_holds_up_no_other(fault: Exception) -> None:
    broken, other = Rubbish("a"), Rubbish("b")
    broken.fault, broken.retry_seconds = fault, 0.01
    task = asyncio.create_task(GarbageCollector([broken, other], uptime).run())
    await eventually(lambda: broken.rounds > 1 and other.removed == ["b"], "both have had their rounds")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert other.rounds == 1, "its next round is an hour later"


async def test_one_that_is_woken_has_another_round() -> None:
    rubbish = Rubbish()
    runner = GarbageCollector([rubbish], uptime)
    task = asyncio.create_task(runner.run())
    for rounds in (1, 2, 3):
        await eventually(lambda rounds=rounds: rubbish.rounds == rounds, "it has had its round")
        runner.wake(rubbish)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
