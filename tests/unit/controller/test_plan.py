"""The decision table, line by line."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ci_common.jobs import STOP_CONCLUSIONS, Conclusion, ReasonCode, State
from ci_common.run_directory.exits import ExitRecord
from ci_common.spec import Retry
from ci_controller.plan import (
    BOOT_SECONDS,
    MAX_STARTS,
    Action,
    Adopt,
    Complete,
    Done,
    MarkRunning,
    MarkStarting,
    MarkStopping,
    Prepare,
    ReleaseGate,
    Remove,
    Requeue,
    Start,
    Stop,
    Wait,
    plan,
)
from ci_controller.policy import JobLimits, Observation, WorkloadPhase, tells_all
from tests.unit.controller.decisions import (
    COMPLETED,
    QUEUED,
    RUNNING,
    STARTING,
    T0,
    TIMEOUT,
    decide,
    job,
    seen,
    verdict,
)


@pytest.mark.parametrize(
    ("state", "phase", "expected"),
    [
        (COMPLETED, WorkloadPhase.ABSENT, Done()),
        (COMPLETED, WorkloadPhase.EXITED, Remove()),
        (COMPLETED, WorkloadPhase.AT_GATE, Remove()),
        (QUEUED, WorkloadPhase.ABSENT, MarkStarting()),
        (STARTING, WorkloadPhase.ABSENT, Prepare()),
        (STARTING, WorkloadPhase.CREATED, Start()),
        (STARTING, WorkloadPhase.AT_GATE, MarkRunning()),
        (STARTING, WorkloadPhase.EXITED, Prepare()),
        (STARTING, WorkloadPhase.RUNNING, Adopt()),
        (RUNNING, WorkloadPhase.AT_GATE, ReleaseGate()),
        (RUNNING, WorkloadPhase.BOOTING, ReleaseGate()),
        (STARTING, WorkloadPhase.FINISHED, Adopt()),
        (COMPLETED, WorkloadPhase.RUNNING, Remove()),
        (RUNNING, WorkloadPhase.RUNNING, Wait(T0 + timedelta(seconds=TIMEOUT))),
    ],
)
def test_the_table(state: State, phase: WorkloadPhase, expected: Action) -> None:
    assert decide(job(state), seen(phase)) == expected


def test_a_completed_job_whose_files_are_left_is_cleared() -> None:
    assert decide(job(COMPLETED), seen(WorkloadPhase.ABSENT, cleaned=False)) == Remove()


def test_a_queued_job_that_backs_off_is_left_alone_until_then() -> None:
    later = T0 + timedelta(seconds=9)
    assert decide(replace(job(QUEUED), not_before=later), seen(WorkloadPhase.ABSENT)) == Wait(later)
    assert decide(replace(job(QUEUED), not_before=later), seen(WorkloadPhase.ABSENT), after=9) == MarkStarting()


@pytest.mark.parametrize("state", [QUEUED, STARTING])
@pytest.mark.parametrize(
    "phase", [phase for phase in WorkloadPhase if phase not in (WorkloadPhase.RUNNING, WorkloadPhase.FINISHED)]
)
def test_a_cancel_before_the_gate_completes_the_job_at_once(state: State, phase: WorkloadPhase) -> None:
    ended = verdict(decide(job(state, cancelled=True), seen(phase)))
    assert (ended.conclusion, ended.exit_code) == (Conclusion.CANCELLED, None)


@pytest.mark.parametrize("phase", list(WorkloadPhase))
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("left", [{"started": True}, {"code": 3}, {"finished": True}])
def test_what_has_begun_is_not_begun_again(phase: WorkloadPhase, cancelled: bool, left: dict[str, Any]) -> None:
    """The row is of an older copy of the database, and the run directory says that the attempt went on since."""
    assert decide(job(STARTING, cancelled=cancelled), seen(phase, **left)) == Adopt()


@pytest.mark.parametrize("phase", [WorkloadPhase.ABSENT, WorkloadPhase.CREATED])
def test_a_result_that_an_older_database_does_not_know(phase: WorkloadPhase) -> None:
    known = verdict(decide(job(RUNNING), seen(phase, 3, started=True)))
    assert (known.conclusion, known.exit_code) == (Conclusion.FAILED, 3)
    lost = verdict(decide(job(RUNNING), seen(phase, finished=True)))
    assert lost.conclusion is Conclusion.ERRORED
    assert lost.reason is not None
    assert lost.reason.code is ReasonCode.RESTORED
    again = Retry(on=(Conclusion.ERRORED,))
    several = replace(job(RUNNING), max_attempts=3)
    assert isinstance(plan(several, seen(phase, finished=True), T0, retry=again), Complete), "it may have succeeded"
    assert isinstance(plan(several, seen(phase, started=True), T0, retry=again), Requeue)


def test_a_script_that_never_reaches_its_gate_is_given_up() -> None:
    booting = seen(WorkloadPhase.BOOTING, booting_since=T0)
    assert isinstance(decide(job(STARTING), booting, after=BOOT_SECONDS - 1), Wait)
    ended = verdict(decide(job(STARTING), booting, after=BOOT_SECONDS))
    assert ended.reason is not None
    assert ended.reason.code is ReasonCode.START_FAILED


def test_a_script_that_ends_before_its_gate_is_started_anew_a_few_times() -> None:
    assert decide(job(STARTING), seen(WorkloadPhase.EXITED, starts=MAX_STARTS - 1)) == Prepare()
    assert (
        verdict(decide(job(STARTING), seen(WorkloadPhase.EXITED, starts=MAX_STARTS))).conclusion is Conclusion.ERRORED
    )


def test_a_stop_is_written_before_it_is_done() -> None:
    running = seen(WorkloadPhase.RUNNING, started=True)
    assert decide(job(RUNNING, cancelled=True), running) == MarkStopping(ReasonCode.CANCELLED)
    assert decide(job(RUNNING), running, after=TIMEOUT) == MarkStopping(ReasonCode.DEADLINE_EXCEEDED)
    assert decide(job(RUNNING, stopping=ReasonCode.DEADLINE_EXCEEDED), running, after=TIMEOUT) == Stop()


@pytest.mark.parametrize(
    ("code", "conclusion"), [(0, Conclusion.SUCCEEDED), (1, Conclusion.FAILED), (255, Conclusion.FAILED)]
)
@pytest.mark.parametrize("phase", [WorkloadPhase.FINISHED, WorkloadPhase.EXITED, WorkloadPhase.ABSENT])
def test_the_exit_file_is_the_result(code: int, conclusion: Conclusion, phase: WorkloadPhase) -> None:
    ended = verdict(decide(job(RUNNING), seen(phase, code)))
    assert (ended.conclusion, ended.exit_code) == (conclusion, code)


def test_a_script_that_has_ended_is_waited_for_until_its_workload_has() -> None:
    assert decide(job(RUNNING), seen(WorkloadPhase.RUNNING, 0), after=5) == Wait(T0 + timedelta(seconds=5.05))


def test_a_job_that_says_its_end_and_goes_on_is_stopped_all_the_same() -> None:
    assert decide(job(RUNNING, cancelled=True), seen(WorkloadPhase.RUNNING, 0), after=5) == Stop()
    assert decide(job(RUNNING), seen(WorkloadPhase.RUNNING, 0), after=5, limits=JobLimits(timeout=4)) == Stop()


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
    late = verdict(decide(job(RUNNING, stopping=stopping), seen(WorkloadPhase.EXITED, 3)))
    assert (late.conclusion, late.exit_code) == (Conclusion.FAILED, 3)
    in_time = verdict(decide(job(RUNNING, stopping=stopping), seen(WorkloadPhase.EXITED, 143, terminated=True)))
    assert (in_time.conclusion, in_time.exit_code) == (STOP_CONCLUSIONS[stopping], 143)
    killed = seen(WorkloadPhase.EXITED, started=True, workload_exit_code=137)
    assert verdict(decide(job(RUNNING, stopping=stopping), killed)).conclusion is STOP_CONCLUSIONS[stopping]


def test_sigterm_from_elsewhere_is_no_cancel() -> None:
    ended = verdict(decide(job(RUNNING), seen(WorkloadPhase.EXITED, 143, terminated=True)))
    assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 143)


@pytest.mark.parametrize(
    ("observed", "code"),
    [
        (seen(WorkloadPhase.ABSENT, started=True), ReasonCode.CONTAINER_LOST),
        (seen(WorkloadPhase.EXITED, started=True, workload_exit_code=137), ReasonCode.CONTAINER_LOST),
        (seen(WorkloadPhase.EXITED, started=True, out_of_memory=True), ReasonCode.OUT_OF_MEMORY),
        (seen(WorkloadPhase.EXITED, 137, started=True, out_of_memory=True), ReasonCode.OUT_OF_MEMORY),
        (seen(WorkloadPhase.EXITED, started=True, disk_full=True), ReasonCode.DISK_FULL),
        (seen(WorkloadPhase.EXITED, started=True, workload_exit_code=3, disk_full=True), ReasonCode.DISK_FULL),
        (seen(WorkloadPhase.EXITED, started=True, workload_exit_code=3), ReasonCode.LOG_DAMAGED),
        (seen(WorkloadPhase.EXITED, started=True, workload_exit_code=0), ReasonCode.LOG_DAMAGED),
        (seen(WorkloadPhase.FINISHED, 0, started=True, log_damage="it did"), ReasonCode.LOG_DAMAGED),
        (seen(WorkloadPhase.EXITED, 3, started=True, log_damage="it did"), ReasonCode.LOG_DAMAGED),
    ],
)
def test_what_vanished_is_errored_with_its_reason(observed: Observation, code: ReasonCode) -> None:
    ended = verdict(decide(job(RUNNING), observed))
    assert ended.conclusion is Conclusion.ERRORED
    assert ended.reason is not None
    assert ended.reason.code is code


@pytest.mark.parametrize("stopping", STOP_CONCLUSIONS)
def test_a_stopped_job_that_has_damaged_its_log_was_stopped_all_the_same(stopping: ReasonCode) -> None:
    observed = seen(WorkloadPhase.EXITED, 143, terminated=True, log_damage="it did")
    assert verdict(decide(job(RUNNING, stopping=stopping), observed)).conclusion is STOP_CONCLUSIONS[stopping]


def test_a_job_that_has_killed_the_shell_of_its_steps_is_told_so() -> None:
    killed = Observation(WorkloadPhase.EXITED, exit=ExitRecord(137, terminated=False, killed=True), started=True)
    ended = verdict(decide(job(RUNNING), killed))
    assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 137)
    assert ended.reason is not None
    assert ended.reason.code is ReasonCode.EXIT_CODE
    assert "signal 9" in ended.reason.message
