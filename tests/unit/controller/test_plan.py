"""The decision table, line by line."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ci_common.jobs import STOP_CONCLUSIONS, Conclusion, ReasonCode, State
from ci_common.run_directory.layout import ExitRecord
from ci_common.spec import Retry
from ci_controller.plan import (
    BOOT_SECONDS,
    MAX_STARTS,
    Action,
    Adopt,
    Complete,
    Create,
    Discard,
    MarkRunning,
    MarkStarting,
    MarkStopping,
    OpenGate,
    Remove,
    Rest,
    Start,
    Stop,
    TryAgain,
    Wait,
    plan,
)
from ci_controller.policy.limits import Bounds
from ci_controller.policy.verdicts import Observed, Sight, tells_all
from tests.helpers.decisions import COMPLETED, QUEUED, RUNNING, STARTING, T0, TIMEOUT, decide, job, seen, verdict


@pytest.mark.parametrize(
    ("state", "sight", "expected"),
    [
        (COMPLETED, Sight.ABSENT, Rest()),
        (COMPLETED, Sight.EXITED, Remove()),
        (COMPLETED, Sight.AT_GATE, Remove()),
        (QUEUED, Sight.ABSENT, MarkStarting()),
        (STARTING, Sight.ABSENT, Create()),
        (STARTING, Sight.CREATED, Start()),
        (STARTING, Sight.AT_GATE, MarkRunning()),
        (STARTING, Sight.EXITED, Discard()),
        (STARTING, Sight.RUNNING, Adopt()),
        (RUNNING, Sight.AT_GATE, OpenGate()),
        (RUNNING, Sight.BOOTING, OpenGate()),
        (STARTING, Sight.FINISHED, Adopt()),
        (COMPLETED, Sight.RUNNING, Remove()),
        (RUNNING, Sight.RUNNING, Wait(T0 + timedelta(seconds=TIMEOUT))),
    ],
)
def test_the_table(state: State, sight: Sight, expected: Action) -> None:
    assert decide(job(state), seen(sight)) == expected


def test_a_completed_job_whose_files_are_left_is_cleared() -> None:
    assert decide(job(COMPLETED), seen(Sight.ABSENT, cleared=False)) == Remove()


def test_a_queued_job_that_backs_off_is_left_alone_until_then() -> None:
    later = T0 + timedelta(seconds=9)
    assert decide(replace(job(QUEUED), not_before=later), seen(Sight.ABSENT)) == Wait(later)
    assert decide(replace(job(QUEUED), not_before=later), seen(Sight.ABSENT), after=9) == MarkStarting()


@pytest.mark.parametrize("state", [QUEUED, STARTING])
@pytest.mark.parametrize("sight", [sight for sight in Sight if sight not in (Sight.RUNNING, Sight.FINISHED)])
def test_a_cancel_before_the_gate_completes_the_job_at_once(state: State, sight: Sight) -> None:
    ended = verdict(decide(job(state, cancelled=True), seen(sight)))
    assert (ended.conclusion, ended.exit_code) == (Conclusion.CANCELLED, None)


@pytest.mark.parametrize("sight", list(Sight))
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("left", [{"started": True}, {"code": 3}, {"spent": True}])
def test_what_has_begun_is_not_begun_again(sight: Sight, cancelled: bool, left: dict[str, Any]) -> None:
    """The row is of an older copy of the database, and the run directory says that the attempt went on since."""
    assert decide(job(STARTING, cancelled=cancelled), seen(sight, **left)) == Adopt()


@pytest.mark.parametrize("sight", [Sight.ABSENT, Sight.CREATED])
def test_a_result_that_an_older_database_does_not_know(sight: Sight) -> None:
    known = verdict(decide(job(RUNNING), seen(sight, 3, started=True)))
    assert (known.conclusion, known.exit_code) == (Conclusion.FAILED, 3)
    lost = verdict(decide(job(RUNNING), seen(sight, spent=True)))
    assert lost.conclusion is Conclusion.ERRORED
    assert lost.reason is not None
    assert lost.reason.code is ReasonCode.RESTORED
    again = Retry(on=(Conclusion.ERRORED,))
    several = replace(job(RUNNING), max_attempts=3)
    assert isinstance(plan(several, seen(sight, spent=True), T0, retry=again), Complete), "it may have succeeded"
    assert isinstance(plan(several, seen(sight, started=True), T0, retry=again), TryAgain)


def test_a_script_that_never_reaches_its_gate_is_given_up() -> None:
    booting = seen(Sight.BOOTING, booting_since=T0)
    assert isinstance(decide(job(STARTING), booting, after=BOOT_SECONDS - 1), Wait)
    ended = verdict(decide(job(STARTING), booting, after=BOOT_SECONDS))
    assert ended.reason is not None
    assert ended.reason.code is ReasonCode.START_FAILED


def test_a_script_that_ends_before_its_gate_is_started_anew_a_few_times() -> None:
    assert decide(job(STARTING), seen(Sight.EXITED, starts=MAX_STARTS - 1)) == Discard()
    assert verdict(decide(job(STARTING), seen(Sight.EXITED, starts=MAX_STARTS))).conclusion is Conclusion.ERRORED


def test_a_stop_is_written_before_it_is_done() -> None:
    running = seen(Sight.RUNNING, started=True)
    assert decide(job(RUNNING, cancelled=True), running) == MarkStopping(ReasonCode.CANCELLED)
    assert decide(job(RUNNING), running, after=TIMEOUT) == MarkStopping(ReasonCode.DEADLINE_EXCEEDED)
    assert decide(job(RUNNING, stopping=ReasonCode.DEADLINE_EXCEEDED), running, after=TIMEOUT) == Stop()


@pytest.mark.parametrize(
    ("code", "conclusion"), [(0, Conclusion.SUCCEEDED), (1, Conclusion.FAILED), (255, Conclusion.FAILED)]
)
@pytest.mark.parametrize("sight", [Sight.FINISHED, Sight.EXITED, Sight.ABSENT])
def test_the_exit_file_is_the_result(code: int, conclusion: Conclusion, sight: Sight) -> None:
    ended = verdict(decide(job(RUNNING), seen(sight, code)))
    assert (ended.conclusion, ended.exit_code) == (conclusion, code)


def test_a_script_that_has_ended_is_waited_for_until_its_workload_has() -> None:
    assert decide(job(RUNNING), seen(Sight.RUNNING, 0), after=5) == Wait(T0 + timedelta(seconds=5.05))


def test_a_job_that_says_its_end_and_goes_on_is_stopped_all_the_same() -> None:
    assert decide(job(RUNNING, cancelled=True), seen(Sight.RUNNING, 0), after=5) == Stop()
    assert decide(job(RUNNING), seen(Sight.RUNNING, 0), after=5, bounds=Bounds(timeout=4)) == Stop()


@pytest.mark.parametrize(
    ("ended", "enough"),
    [
        (ExitRecord(0, terminated=False, last=True), True),
        (ExitRecord(0, terminated=False), False),
        (ExitRecord(137, terminated=False, oom_kills=0, last=True), True),
        (ExitRecord(137, terminated=False, oom_kills=0), False),
        (ExitRecord(137, terminated=False, last=True), False),
    ],
)
def test_the_engine_is_asked_for_what_the_script_does_not_know(ended: ExitRecord, enough: bool) -> None:
    assert tells_all(ended) is enough


@pytest.mark.parametrize("stopping", STOP_CONCLUSIONS)
def test_a_stop_that_came_too_late_changes_no_result(stopping: ReasonCode) -> None:
    late = verdict(decide(job(RUNNING, stopping=stopping), seen(Sight.EXITED, 3)))
    assert (late.conclusion, late.exit_code) == (Conclusion.FAILED, 3)
    in_time = verdict(decide(job(RUNNING, stopping=stopping), seen(Sight.EXITED, 143, terminated=True)))
    assert (in_time.conclusion, in_time.exit_code) == (STOP_CONCLUSIONS[stopping], 143)
    killed = seen(Sight.EXITED, started=True, workload_exit_code=137)
    assert verdict(decide(job(RUNNING, stopping=stopping), killed)).conclusion is STOP_CONCLUSIONS[stopping]


def test_sigterm_from_elsewhere_is_no_cancel() -> None:
    ended = verdict(decide(job(RUNNING), seen(Sight.EXITED, 143, terminated=True)))
    assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 143)


@pytest.mark.parametrize(
    ("observed", "code"),
    [
        (seen(Sight.ABSENT, started=True), ReasonCode.CONTAINER_LOST),
        (seen(Sight.EXITED, started=True, workload_exit_code=137), ReasonCode.CONTAINER_LOST),
        (seen(Sight.EXITED, started=True, out_of_memory=True), ReasonCode.OUT_OF_MEMORY),
        (seen(Sight.EXITED, 137, started=True, out_of_memory=True), ReasonCode.OUT_OF_MEMORY),
        (seen(Sight.EXITED, started=True, disk_full=True), ReasonCode.DISK_FULL),
        (seen(Sight.EXITED, started=True, workload_exit_code=3, disk_full=True), ReasonCode.DISK_FULL),
        (seen(Sight.EXITED, started=True, workload_exit_code=3), ReasonCode.LOG_DAMAGED),
        (seen(Sight.EXITED, started=True, workload_exit_code=0), ReasonCode.LOG_DAMAGED),
        (seen(Sight.FINISHED, 0, started=True, log_damage="it did"), ReasonCode.LOG_DAMAGED),
        (seen(Sight.EXITED, 3, started=True, log_damage="it did"), ReasonCode.LOG_DAMAGED),
    ],
)
def test_what_vanished_is_errored_with_its_reason(observed: Observed, code: ReasonCode) -> None:
    ended = verdict(decide(job(RUNNING), observed))
    assert ended.conclusion is Conclusion.ERRORED
    assert ended.reason is not None
    assert ended.reason.code is code


@pytest.mark.parametrize("stopping", STOP_CONCLUSIONS)
def test_a_stopped_job_that_has_damaged_its_log_was_stopped_all_the_same(stopping: ReasonCode) -> None:
    observed = seen(Sight.EXITED, 143, terminated=True, log_damage="it did")
    assert verdict(decide(job(RUNNING, stopping=stopping), observed)).conclusion is STOP_CONCLUSIONS[stopping]


def test_a_job_that_has_killed_the_shell_of_its_steps_is_told_so() -> None:
    killed = Observed(Sight.EXITED, exit=ExitRecord(137, terminated=False, killed=True), started=True)
    ended = verdict(decide(job(RUNNING), killed))
    assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 137)
    assert ended.reason is not None
    assert ended.reason.code is ReasonCode.EXIT_CODE
    assert "signal 9" in ended.reason.message
