"""Attempts that run scripts: their ends, their logs, limits, stops, and what is removed of them."""

import asyncio
from dataclasses import replace

import pytest

from ci_common.jobs import ReasonCode
from ci_common.runtime_faults import StartFault
from ci_controller.execution.protocol import Scope, without_row
from ci_controller.policy import WorkloadPhase
from tests.contracts.execution_suite.bench import FOREVER, MakeTrial, Open, ScriptBench, Trial, has_log
from tests.helpers.waiting import PATIENCE, eventually

WRITER = "while :; do echo 0123456789012345678901234567890123456789; done"


class Scripts(ScriptBench):
    """What an execution promises that runs scripts."""

    @pytest.mark.parametrize("code", [1, 7, 255])
    async def test_the_exit_code_is_the_scripts(self, trial: MakeTrial, code: int) -> None:
        one = trial(self.script("echo one; echo two >&2", f"exit {code}", "echo never"))
        seen = await one.executed()
        assert seen.exit is not None
        assert seen.exit.code == code
        left = await one.completed()
        assert has_log(left, b"one\ntwo\n")
        assert [step.exit_code for step in left.steps] == [0, code, None]
        assert left.steps[2].reason == "a step before it failed"
        assert left.milestones.keys() >= {"gate_opened"}

    async def test_what_was_prepared_is_listed_until_it_is_removed(self, trial: MakeTrial) -> None:
        one = trial(self.quick())
        assert one.key not in await one.execution.list()
        await one.prepared()
        assert one.key in await one.execution.list()
        await one.execution.clean_up(without_row(one.key), Scope.WORKLOAD)
        assert one.key not in await one.execution.list()
        assert await one.phase() is WorkloadPhase.ABSENT

    async def test_what_ended_before_its_gate_is_made_again(self, trial: MakeTrial) -> None:
        one = trial(self.quick())
        await one.at_gate()
        await one.execution.stop(one.job, 1)
        assert await one.phase() is WorkloadPhase.EXITED
        await one.at_gate()
        await one.execution.clean_up(without_row(one.key), Scope.WORKLOAD)

    async def test_a_stop_is_told_and_gives_time(self, trial: MakeTrial) -> None:
        one = trial(self.script(f"trap 'echo term; exit 9' TERM; exec 2>/dev/null; echo up; {FOREVER}"))
        await one.begun()
        await eventually(lambda: log_has(one, 3), "it is up")
        one.job = replace(one.job, stop_code=ReasonCode.CANCELLED)
        async with asyncio.timeout(PATIENCE):
            await one.execution.stop(one.job, 30)
        seen = await one.seen()
        assert seen.exit is not None
        assert (seen.exit.code, seen.exit.terminated) == (9, True)
        assert has_log(await one.completed(), b"up\nterm\n")

    async def test_what_does_not_heed_it_is_killed(self, trial: MakeTrial) -> None:
        one = trial(self.script(f"trap '' TERM; echo up; {FOREVER}"))
        await one.begun()
        await eventually(lambda: log_has(one, 3), "it is up")
        async with asyncio.timeout(PATIENCE):
            await one.execution.stop(one.job, 0.2)
        assert (await one.seen()).phase in (WorkloadPhase.EXITED, WorkloadPhase.FINISHED)
        assert has_log(await one.completed(), b"up\n")

    async def test_what_runs_is_ended_before_its_files_go(self, trial: MakeTrial) -> None:
        one = trial(self.script(f"trap '' TERM; (while :; do echo x >>file; done) & echo up; {FOREVER}"))
        await one.begun()
        await eventually(lambda: log_has(one, 3), "it is up")
        left = await one.completed()
        async with asyncio.timeout(PATIENCE):
            await one.cleaned_up()
        assert one.key not in await one.execution.list()
        assert (await one.seen()).cleaned
        assert (await one.execution.collect(one.job)).log_bytes >= left.log_bytes, "the log stays"

    async def test_room_is_made_and_the_result_stays(self, trial: MakeTrial) -> None:
        one = trial(self.script("head -c 3000000 /dev/zero >file; echo ran; exit 3"))
        await one.executed()
        before = (await one.execution.observe(one.job, measure=True)).usage.disk_bytes
        await one.cleaned_up(Scope.WORKSPACE)
        after = (await one.execution.observe(one.job, measure=True)).usage.disk_bytes
        assert before is not None
        assert after is not None
        assert before - after >= 2_500_000
        seen = await one.seen()
        assert seen.exit is not None
        assert seen.exit.code == 3
        assert has_log(await one.completed(), b"ran\n")

    async def test_growth_of_the_log_is_seen_and_a_limit_wakes(self, trial: MakeTrial) -> None:
        one = trial(self.script(WRITER, limits={"log": "1m"}))
        await one.at_gate()
        async with one.execution.events(one.job) as wakeups, asyncio.timeout(PATIENCE):
            one.running()
            await one.execution.release_gate(one.job)
            while (seen := await one.seen()).usage.log_bytes <= 1024**2:
                await wakeups.wait(600)
            assert seen.usage.first_output is not None
            assert seen.usage.last_output is not None
        await one.execution.stop(one.job, 1)

    async def test_the_end_wakes(self, trial: MakeTrial) -> None:
        one = trial(self.script("sleep 0.3; exit 3"))
        await one.at_gate()
        async with one.execution.events(one.job) as wakeups, asyncio.timeout(PATIENCE):
            one.running()
            await one.execution.release_gate(one.job)
            while (await one.seen()).exit is None:
                await wakeups.wait(600)

    async def test_what_cannot_be_started_says_so(self, trial: MakeTrial) -> None:
        one = trial(replace(self.quick(), has_upload=True))
        with pytest.raises(StartFault):
            await one.prepared()

    async def test_one_that_runs_goes_on_without_its_controller(self, trial: MakeTrial, open_execution: Open) -> None:
        one = trial(self.script("echo one; sleep 0.5; echo two"))
        await one.begun()
        async with open_execution() as following:
            again = Trial(following, one.job)
            await again.ended()
            assert has_log(await again.completed(), b"one\ntwo\n")
            await again.cleaned_up()


async def log_has(one: Trial, size: int) -> bool:
    return (await one.seen()).usage.log_bytes >= size
