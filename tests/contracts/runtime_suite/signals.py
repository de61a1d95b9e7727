"""Signals that a job sends itself: they are no stop, and what they end has a true result."""

import pytest

from ci_common.attempts.parts import StepStatus
from ci_common.run_directory.output import read_steps
from ci_common.times import utc_now
from ci_controller.policy import WorkloadPhase
from tests.contracts.runtime_suite.bench import MakeTrial, RuntimeBench
from tests.helpers.scripts import end_of

HARMLESS = {
    "clean up": "trap exit INT TERM; trap 'kill 0' EXIT; sleep 30 & : >ready; echo one",
    "parent": "for number in HUP INT PIPE TERM USR1; do kill -$number $PPID; done; echo one",
    "group": "trap '' HUP INT PIPE TERM; for number in HUP INT PIPE TERM; do kill -$number 0; done; echo one",
    "stopped": "kill -STOP $PPID; kill -TSTP $PPID; echo one",
}
"""Shell text that signals the shell which runs the steps, and succeeds in a plain shell."""


class OwnSignals(RuntimeBench):
    """A job's own signals are no stop."""

    @pytest.mark.parametrize("kind", HARMLESS)
    async def test_a_jobs_own_signals_change_nothing(self, trial: MakeTrial, kind: str) -> None:
        one = trial(HARMLESS[kind], "echo two")
        assert (await one.execute()).exit_code == 0
        assert end_of(one.run) == (0, False)
        assert one.run.log.read_bytes() == b"one\ntwo\n"

    @pytest.mark.parametrize(("number", "code"), [("TERM", 143), ("HUP", 129), ("KILL", 137)])
    async def test_a_step_that_ends_its_group_has_failed(self, trial: MakeTrial, number: str, code: int) -> None:
        one = trial("echo one", f"kill -{number} 0; sleep 60", "echo never")
        await one.execute()
        assert await one.phase() is WorkloadPhase.EXITED
        assert end_of(one.run) == (code, False)
        assert b"never" not in one.run.log.read_bytes()
        steps = read_steps(one.run, ("a", "b", "c"), utc_now())
        assert [(step.status, step.exit_code) for step in steps if step.status is not StepStatus.SKIPPED] == [
            (StepStatus.SUCCEEDED, 0),
            (StepStatus.FAILED, code),
        ]

    async def test_a_stop_after_signals_of_its_own_is_still_a_stop(self, trial: MakeTrial) -> None:
        one = trial(
            "kill -TERM $PPID; trap 'echo tidy; exit 6' TERM; : >ready; while :; do sleep 0.02; done", "echo no"
        )
        await one.running()
        await one.runtime.stop(one.key, 30)
        assert end_of(one.run) == (6, True)
        assert one.run.log.read_bytes().endswith(b"tidy\n")
