"""The rules that `plan` keeps for every job and every phase of it."""

from datetime import UTC, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ci_common.jobs import ACTIVE_STATES, STOP_CONCLUSIONS, TRANSITIONS, Conclusion, Job, ReasonCode, State
from ci_common.run_directory.exits import ExitRecord
from ci_controller.plan import (
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
    Start,
    Stop,
    Wait,
)
from ci_controller.policy import JobLimits, Observation, Usage, Verdict, WorkloadPhase
from tests.unit.controller.decisions import COMPLETED, RUNNING, STARTING, T0, decide, job


def reason_of(ended: Verdict) -> ReasonCode | None:
    return None if ended.reason is None else ended.reason.code


exits = st.none() | st.builds(
    ExitRecord,
    st.integers(0, 255),
    terminated=st.booleans(),
    oom_kills=st.none() | st.integers(0, 2),
    refused_forks=st.none() | st.integers(0, 2),
    throttled_percent=st.none() | st.integers(0, 100),
    last=st.booleans(),
)
instants = st.datetimes(timezones=st.just(UTC)) | st.integers(-5, 500).map(lambda s: T0 + timedelta(seconds=s))
amounts = st.integers(0, 100)
usages = st.builds(Usage, amounts, last_output=st.none() | instants, workspace_bytes=st.none() | amounts)
some = st.none() | st.floats(0.1, 1e300)
some_bytes = st.none() | st.integers(1, 100)
all_limits = st.builds(
    JobLimits, some, some, some_bytes, some_bytes, some_bytes, some_bytes, st.none() | st.floats(0.1, 64)
)
observations = st.builds(
    Observation,
    st.sampled_from(WorkloadPhase),
    exit=exits,
    started=st.booleans(),
    finished=st.booleans(),
    workload_exit_code=st.none() | st.integers(0, 255),
    out_of_memory=st.booleans(),
    usage=usages,
    disk_full=st.booleans(),
    booting_since=st.none() | st.just(T0),
    starts=st.integers(0, 5),
    cleaned=st.booleans(),
)
jobs = st.builds(
    job,
    st.sampled_from(State),
    cancelled=st.booleans(),
    stopping=st.sampled_from([None, *STOP_CONCLUSIONS]),
)
NEXT_STATE: dict[type[Action], State] = {
    MarkStarting: STARTING,
    MarkRunning: RUNNING,
    Adopt: RUNNING,
    Complete: COMPLETED,
}


@given(j=jobs, s=observations, after=st.floats(0, 1000), limits=all_limits)
def test_every_step_keeps_the_rules(j: Job, s: Observation, after: float, limits: JobLimits) -> None:
    action = decide(j, s, after=after, limits=limits)
    target = NEXT_STATE.get(type(action))
    assert target is None or target in TRANSITIONS[j.state], "only transitions that the table has"
    if isinstance(action, ReleaseGate):
        assert j.state is RUNNING, "the gate opens only once RUNNING is written"
    if isinstance(action, Prepare | Start):
        assert j.state is STARTING, "nothing is started once the gate may have opened"
    if isinstance(action, Prepare | Start | MarkRunning):
        assert not any((s.started, s.finished, s.exit)), "what may have begun is not begun again"
    if isinstance(action, ReleaseGate):
        assert s.phase in (WorkloadPhase.AT_GATE, WorkloadPhase.BOOTING), "it waits at its gate, or is about to"
    if isinstance(action, Stop):
        assert j.stop_code is not None or s.exit is not None, (
            "a stop is written down first, if not by the job's own end"
        )
    if isinstance(action, Remove):
        assert j.state is COMPLETED, "nothing is removed before the result is written"
    if isinstance(action, Complete) and j.state in ACTIVE_STATES:
        code = action.verdict.exit_code
        assert code is None or s.exit is not None or s.workload_exit_code is not None, "no exit code out of nowhere"
    if isinstance(action, Done):
        assert j.state is COMPLETED
        assert s.phase is WorkloadPhase.ABSENT


LIMITS_OF = {
    ReasonCode.DEADLINE_EXCEEDED: lambda limits: limits.timeout,
    ReasonCode.NO_OUTPUT: lambda limits: limits.no_output_timeout,
    ReasonCode.LOG_LIMIT: lambda limits: limits.log,
    ReasonCode.WORKSPACE_LIMIT: lambda limits: limits.workspace,
}


@given(j=jobs, s=observations, after=st.floats(0, 1000), limits=all_limits)
def test_every_stop_has_its_cause(j: Job, s: Observation, after: float, limits: JobLimits) -> None:
    action = decide(j, s, after=after, limits=limits)
    if isinstance(action, MarkStopping):
        assert j.state is RUNNING
        assert s.exit is None, "a job whose own code has ended is not stopped"
        if action.code is ReasonCode.CANCELLED:
            assert j.cancel_requested_time is not None
        else:
            assert LIMITS_OF[action.code](limits) is not None, "only by a limit that the job has"
    if isinstance(action, Wait) and j.state is RUNNING and s.exit is None and s.usage.last_output is not None:
        assert limits.due(s.usage, j.start_time) is None or action.until is not None, "a limit on time is waited for"


@given(j=jobs, s=observations, after=st.floats(0, 1000), limits=all_limits)
def test_whose_own_code_had_ended_keeps_its_result(j: Job, s: Observation, after: float, limits: JobLimits) -> None:
    action = decide(j, s, after=after, limits=limits)
    if j.state is RUNNING and isinstance(action, Complete) and s.exit is not None and not s.exit.terminated:
        assert action.verdict.exit_code == s.exit.code
        assert reason_of(action.verdict) not in STOP_CONCLUSIONS
        assert (action.verdict.conclusion is Conclusion.SUCCEEDED) == (s.exit.code == 0)
