"""One attempt from its preparation to the removal of its remains, and that everything may be repeated."""

import asyncio

import pytest

from ci_controller.execution.protocol import Execution, Scope
from ci_controller.policy import WorkloadPhase
from tests.contracts.execution_suite.bench import ENDED, ExecutionBench, MakeTrial, Open, Trial, has_log
from tests.helpers.waiting import PATIENCE, eventually


class Lifecycle(ExecutionBench):
    """What every execution promises, whatever it runs."""

    async def test_an_attempt_goes_from_its_preparation_to_its_end(self, trial: MakeTrial) -> None:
        one = trial(self.quick())
        await one.at_gate()
        seen = await one.seen()
        assert (seen.started, seen.exit) == (False, None), "nothing runs before the gate opens"
        one.running()
        await one.execution.release_gate(one.job)
        seen = await one.ended()
        assert seen.exit is not None
        assert (seen.started, seen.exit.code, seen.exit.terminated) == (True, 0, False)
        assert has_log(await one.completed(), self.quick_log)
        await one.cleaned_up()
        seen = await one.seen()
        assert (seen.phase, seen.cleaned) == (WorkloadPhase.ABSENT, True)
        assert one.key not in await one.execution.list()

    async def test_everything_may_be_repeated(self, trial: MakeTrial) -> None:
        one = trial(self.quick())
        for _ in range(2):
            await one.at_gate()
        one.running()
        for _ in range(2):
            await one.execution.release_gate(one.job)
        await one.ended()
        for _ in range(2):
            await one.execution.stop(one.job, 1)
            assert has_log(await one.execution.collect(one.job), self.quick_log), "its code has run once"
        await one.completed()
        for _ in range(2):
            await one.cleaned_up()
        assert has_log(await one.execution.collect(one.job), self.quick_log), "the log stays"

    @pytest.mark.parametrize("stage", ["prepared", "at_gate", "begun", "executed"])
    async def test_another_controller_continues(self, trial: MakeTrial, open_execution: Open, stage: str) -> None:
        one = trial(self.quick())
        await getattr(one, stage)()
        async with open_execution() as following:
            again = Trial(following, one.job)
            if stage in ("prepared", "at_gate"):
                await again.at_gate()
                again.running()
            await following.release_gate(again.job)
            assert (await again.ended()).exit is not None
            assert has_log(await again.completed(), self.quick_log), "its code has run once"
            await again.cleaned_up()
            assert again.key not in await following.list()

    async def test_what_never_began_has_left_nothing(self, trial: MakeTrial) -> None:
        one = trial(self.quick())
        assert has_log(await one.completed(), b"")
        await one.cleaned_up()
        assert await one.phase() is WorkloadPhase.ABSENT

    async def test_what_is_stopped_before_its_gate_opens_has_left_nothing(self, trial: MakeTrial) -> None:
        one = trial(self.endless())
        await one.at_gate()
        assert has_log(await one.completed(), b"")
        await one.cleaned_up()
        assert await one.phase() is WorkloadPhase.ABSENT
        assert one.key not in await one.execution.list()

    async def test_at_the_gate_it_waits(self, trial: MakeTrial) -> None:
        one = trial(self.endless())
        await one.at_gate()
        async with one.execution.events(one.job) as wakeups:
            assert wakeups.peek(one.job) is WorkloadPhase.AT_GATE
            await wakeups.wait(0.05)
        assert await one.phase() is WorkloadPhase.AT_GATE
        await one.cleaned_up(Scope.WORKLOAD)

    async def test_a_wait_ends_by_a_wake_and_by_time(self, trial: MakeTrial) -> None:
        one = trial(self.endless())
        await one.begun()
        async with one.execution.events(one.job) as wakeups:
            async with asyncio.timeout(PATIENCE):
                wakeups.wake()
                await wakeups.wait(600)
                await wakeups.wait(0.01)
            assert wakeups.peek(one.job) is WorkloadPhase.RUNNING
        await one.cleaned_up(Scope.WORKLOAD)

    async def test_the_end_is_seen_without_asking(self, trial: MakeTrial) -> None:
        one = trial(self.quick())
        await one.begun()
        async with one.execution.events(one.job) as wakeups:
            await eventually(lambda: wakeups.peek(one.job) is WorkloadPhase.FINISHED, "its end is known")
        assert (await one.ended()).phase in ENDED

    async def test_attempts_are_known_apart(self, execution: Execution, trial: MakeTrial) -> None:
        one, other = trial(self.endless()), trial(self.quick())
        await one.begun()
        await other.executed()
        assert await one.phase() is WorkloadPhase.RUNNING
        await other.completed()
        await other.cleaned_up()
        assert await one.phase() is WorkloadPhase.RUNNING
        await one.cleaned_up(Scope.WORKLOAD)
