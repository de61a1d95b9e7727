"""What the decision makes of a running job's limits, and of what the kernel refused it."""

from datetime import UTC, datetime, timedelta

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode, State
from ci_common.run_directory.exits import ExitRecord
from ci_controller.plan import Action, Complete, MarkStopping, ReleaseGate, Wait, plan
from ci_controller.policy import NO_LIMITS, NOTHING_USED, JobLimits, Observation, Usage, Verdict, WorkloadPhase

T0 = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(id="j", type="container", submit_time=T0, state=State.RUNNING, start_time=T0)


def decide(seen: Observation, *, after: float = 1.0, limits: JobLimits = NO_LIMITS) -> Action:
    return plan(JOB, seen, T0 + timedelta(seconds=after), limits=limits)


def reason_of(ended: Verdict) -> ReasonCode | None:
    return None if ended.reason is None else ended.reason.code


def judged(seen: Observation) -> Verdict:
    action = decide(seen)
    assert isinstance(action, Complete)
    return action.verdict


@pytest.mark.parametrize(
    ("usage", "limits", "code"),
    [
        (Usage(log_bytes=11), JobLimits(log=10), ReasonCode.LOG_LIMIT),
        (Usage(workspace_bytes=11), JobLimits(workspace=10), ReasonCode.WORKSPACE_LIMIT),
        (Usage(last_output=T0), JobLimits(no_output_timeout=9), ReasonCode.NO_OUTPUT),
        (Usage(), JobLimits(timeout=9), ReasonCode.DEADLINE_EXCEEDED),
        (Usage(last_output=T0), JobLimits(timeout=8, no_output_timeout=9), ReasonCode.DEADLINE_EXCEEDED),
        (Usage(last_output=T0), JobLimits(timeout=9, no_output_timeout=8), ReasonCode.NO_OUTPUT),
    ],
)
def test_each_limit_stops_a_job_for_its_own_reason(usage: Usage, limits: JobLimits, code: ReasonCode) -> None:
    running = Observation(WorkloadPhase.RUNNING, started=True, usage=usage)
    assert decide(running, after=9.5, limits=limits) == MarkStopping(code)


def test_what_is_used_up_to_the_limit_is_allowed() -> None:
    usage = Usage(log_bytes=10, workspace_bytes=10, last_output=T0 + timedelta(seconds=5))
    limits = JobLimits(log=10, workspace=10, no_output_timeout=5, timeout=20)
    silent_until = Wait(T0 + timedelta(seconds=10))
    assert decide(Observation(WorkloadPhase.RUNNING, usage=usage), after=9.9, limits=limits) == silent_until


def test_a_job_is_not_silent_before_its_code_has_begun() -> None:
    at_gate = Observation(WorkloadPhase.AT_GATE, usage=Usage(last_output=None))
    assert decide(at_gate, after=50, limits=JobLimits(no_output_timeout=1)) == ReleaseGate()


def test_times_that_no_calendar_has() -> None:
    usage = Usage(last_output=datetime.max.replace(tzinfo=UTC))
    limits = JobLimits(timeout=1e300, no_output_timeout=1e300)
    assert isinstance(decide(Observation(WorkloadPhase.RUNNING, usage=usage), limits=limits), Wait)


@pytest.mark.parametrize(
    ("code", "oom_kills", "engine", "conclusion", "reason"),
    [
        (137, 1, False, Conclusion.ERRORED, ReasonCode.OUT_OF_MEMORY),
        (137, None, True, Conclusion.ERRORED, ReasonCode.OUT_OF_MEMORY),
        (137, 0, True, Conclusion.FAILED, ReasonCode.EXIT_CODE),
        (137, None, False, Conclusion.FAILED, ReasonCode.EXIT_CODE),
        (2, 1, True, Conclusion.FAILED, ReasonCode.OUT_OF_MEMORY),
        (2, 0, True, Conclusion.FAILED, ReasonCode.EXIT_CODE),
        (0, 3, True, Conclusion.SUCCEEDED, None),
    ],
)
def test_out_of_memory_and_exit_codes(
    code: int, oom_kills: int | None, engine: bool, conclusion: Conclusion, reason: ReasonCode | None
) -> None:
    """The engine speaks of the whole life of a container, the count of the step that failed."""
    ended = ExitRecord(code, terminated=False, oom_kills=oom_kills)
    ended_so = judged(Observation(WorkloadPhase.EXITED, exit=ended, out_of_memory=engine))
    assert (ended_so.conclusion, reason_of(ended_so), ended_so.exit_code) == (conclusion, reason, code)


@pytest.mark.parametrize(("code", "reason"), [(0, None), (2, ReasonCode.PIDS_LIMIT), (137, ReasonCode.PIDS_LIMIT)])
def test_processes_that_could_not_start(code: int, reason: ReasonCode | None) -> None:
    ended = ExitRecord(code, terminated=False, oom_kills=0, refused_forks=7)
    ended_so = judged(Observation(WorkloadPhase.EXITED, exit=ended))
    assert (reason_of(ended_so), ended_so.exit_code) == (reason, code)


def stopped(code: ReasonCode, limits: JobLimits, usage: Usage = NOTHING_USED, throttled: int | None = None) -> str:
    job = Job(id="j", type="container", submit_time=T0, state=State.RUNNING, start_time=T0, stop_code=code)
    ended = ExitRecord(143, terminated=True, throttled_percent=throttled)
    action = plan(job, Observation(WorkloadPhase.EXITED, exit=ended, usage=usage), T0, limits=limits)
    assert isinstance(action, Complete)
    assert action.verdict.reason is not None
    return action.verdict.reason.message


def test_the_reason_says_how_much_it_was() -> None:
    assert "10 bytes" in stopped(ReasonCode.LOG_LIMIT, JobLimits(log=10))
    assert "kept, 25 bytes" in stopped(ReasonCode.LOG_LIMIT, JobLimits(log=10), Usage(log_bytes=25))
    assert "at least 30 bytes" in stopped(
        ReasonCode.WORKSPACE_LIMIT, JobLimits(workspace=10), Usage(workspace_bytes=30)
    )
    assert "for 1.5 s" in stopped(ReasonCode.NO_OUTPUT, JobLimits(no_output_timeout=1.5))


def test_a_deadline_tells_of_a_limit_on_processors_that_held_the_job_back() -> None:
    throttled = stopped(ReasonCode.DEADLINE_EXCEEDED, JobLimits(timeout=9, cpus=0.5), throttled=93)
    assert throttled.endswith("longer than 9 s; limits.cpus, 0.5, held it back in 93 % of the scheduling periods")
    assert stopped(ReasonCode.DEADLINE_EXCEEDED, JobLimits(timeout=9, cpus=0.5), throttled=0).endswith("9 s")
    assert stopped(ReasonCode.DEADLINE_EXCEEDED, JobLimits(timeout=9), throttled=93).endswith("9 s")
