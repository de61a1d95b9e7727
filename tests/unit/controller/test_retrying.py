"""Another attempt follows where it was asked for, and nowhere else; and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.jobs import ACTIVE_STATES, STOP_CONCLUSIONS, Attempt, Conclusion, Job, ReasonCode, State
from ci_common.run_directory.exits import ExitRecord
from ci_common.spec import Retry
from ci_controller.plan import (
    Complete,
    MarkRunning,
    MarkStarting,
    MarkStopping,
    Requeue,
    Wait,
    conclude,
    pause_after,
    plan,
)
from ci_controller.policy import JobLimits, Observation, Verdict, WorkloadPhase

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = JobLimits(timeout=100.0)
RETRIED = [Conclusion.FAILED, Conclusion.ERRORED, Conclusion.TIMED_OUT]

policies = st.builds(
    Retry,
    max_attempts=st.integers(1, 5),
    on=st.lists(st.sampled_from(RETRIED), min_size=1),
    backoff=st.floats(0.001, 604_800),
    max_backoff=st.floats(0.001, 604_800),
)
observations = st.builds(
    Observation,
    st.sampled_from(WorkloadPhase),
    exit=st.none() | st.builds(ExitRecord, st.integers(0, 255), terminated=st.booleans()),
    started=st.booleans(),
    workload_exit_code=st.none() | st.integers(0, 255),
    out_of_memory=st.booleans(),
    disk_full=st.booleans(),
    booting_since=st.none() | st.just(T0),
    starts=st.integers(0, 5),
)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    state, max_attempts = draw(st.sampled_from(State)), draw(st.integers(1, 4))
    attempt = draw(st.integers(1, max_attempts))
    ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=T0)
    return Job(
        id="j",
        type="container",
        submit_time=T0,
        state=state,
        max_attempts=max_attempts,
        attempt=attempt,
        earlier_attempts=tuple(replace(ended, number=number) for number in range(1, attempt)),
        start_time=T0 if state in (State.RUNNING, State.COMPLETED) else None,
        cancel_requested_time=draw(st.sampled_from([None, T0])),
        stop_code=draw(st.sampled_from([None, *STOP_CONCLUSIONS])) if state is State.RUNNING else None,
    )


@given(job=jobs(), seen=observations, retry=st.none() | policies, after=st.floats(0, 1000))
def test_never_a_rerun_that_was_not_asked_for(job: Job, seen: Observation, retry: Retry | None, after: float) -> None:
    now = T0 + timedelta(seconds=after)
    action = plan(job, seen, now, limits=LIMITS, retry=retry)
    if isinstance(action, Requeue):
        assert retry is not None
        assert job.state in ACTIVE_STATES, "an attempt has been begun"
        assert job.cancel_requested_time is None
        assert job.attempt < job.max_attempts
        assert action.verdict.conclusion in retry.on
    without = plan(job, seen, now, limits=LIMITS)
    assert not isinstance(without, Requeue)
    if isinstance(action, Requeue | Complete):
        assert isinstance(without, Complete), "a policy ends nothing that would not have ended"
        assert without.verdict == action.verdict
    else:
        assert without == action


@given(job=jobs(), conclusion=st.sampled_from(Conclusion), retry=policies)
def test_where_it_was_asked_for_another_attempt_follows(job: Job, conclusion: Conclusion, retry: Retry) -> None:
    follows = isinstance(conclude(job, Verdict(conclusion, None), retry), Requeue)
    free = job.state in ACTIVE_STATES and job.cancel_requested_time is None and job.attempt < job.max_attempts
    assert follows == (free and conclusion in retry.on)


@given(seen=st.lists(observations, max_size=60), retry=policies)
def test_attempts_never_exceed_what_was_asked_for(seen: list[Observation], retry: Retry) -> None:
    """Whatever is seen, in whatever order."""
    job = Job(id="j", type="container", submit_time=T0, max_attempts=retry.max_attempts)
    begun, now = 0, T0
    for phase in seen:
        now += timedelta(days=8)
        match plan(job, phase, now, limits=LIMITS, retry=retry):
            case MarkStarting():
                begun += 1
                job = job.with_changes(state=State.STARTING)
            case MarkRunning():
                job = job.with_changes(state=State.RUNNING, start_time=now)
            case MarkStopping(code):
                job = job.with_changes(stop_code=code)
            case Complete():
                job = job.with_changes(state=State.COMPLETED)
            case Requeue():
                changes = {"attempt": job.attempt + 1, "start_time": None, "stop_code": None}
                job = job.with_changes(state=State.QUEUED, **changes)
        assert job.attempt <= retry.max_attempts
        assert begun <= job.attempt


@given(retry=policies, attempt=st.integers(1, 99), jitter=st.floats(0, 1, exclude_max=True))
def test_pauses_grow_up_to_the_longest(retry: Retry, attempt: int, jitter: float) -> None:
    pause = pause_after(attempt, retry, lambda: jitter).total_seconds()
    longest = retry.longest_pause(attempt)
    assert longest / 2 - 1e-6 <= pause <= longest + 1e-6
    assert retry.longest_pause(1) == retry.backoff
    assert longest <= retry.longest_pause(attempt + 1) <= max(retry.backoff, retry.max_backoff)


def test_pauses_in_numbers() -> None:
    retry = Retry(max_attempts=9, backoff=2, max_backoff=10)
    assert [pause_after(n, retry, lambda: 0.5).total_seconds() for n in (1, 2, 3, 4, 5)] == [1.5, 3, 6, 7.5, 7.5]


def waiting(seconds: float) -> Job:
    ended = Attempt(number=1, conclusion=Conclusion.FAILED, end_time=T0)
    job = Job(id="j", type="container", submit_time=T0, max_attempts=2, attempt=2, earlier_attempts=(ended,))
    return replace(job, not_before=T0 + timedelta(seconds=seconds))


def test_a_job_waits_until_its_time_has_come() -> None:
    retry, nothing = Retry(max_attempts=2, backoff=10), Observation(WorkloadPhase.ABSENT)
    assert plan(waiting(9), nothing, T0, retry=retry) == Wait(T0 + timedelta(seconds=9))
    assert plan(waiting(0), nothing, T0, retry=retry) == MarkStarting()


def test_a_clock_that_was_set_back_holds_up_no_job() -> None:
    retry = Retry(max_attempts=2, backoff=10)
    assert plan(waiting(3600), Observation(WorkloadPhase.ABSENT), T0, retry=retry) == MarkStarting()


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_cancelled_job_says_before_which_attempt(attempt: int) -> None:
    job = replace(waiting(9), attempt=attempt, cancel_requested_time=T0)
    action = plan(job, Observation(WorkloadPhase.ABSENT), T0, retry=Retry(max_attempts=2))
    assert isinstance(action, Complete)
    assert action.verdict.reason is not None
    assert action.verdict.reason.code is ReasonCode.CANCELLED
    assert ("attempt 2 of 2" in action.verdict.reason.message) == (attempt == 2)
