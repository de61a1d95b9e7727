"""The state machine."""

from dataclasses import fields, replace
from itertools import product

import pytest

from ci_common.attempts.parts import StepResult, StepStatus
from ci_common.jobs import ACTIVE_STATES, TRANSITIONS, Attempt, Conclusion, Job, NewJob, Reason, ReasonCode, State
from tests.helpers.jobs import NOON, new_job


def a_job(state: State) -> Job:
    return Job(id="x", type="echo", submit_time=NOON, state=state)


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_changes_keep_to_the_transitions(before: State, after: State) -> None:
    job = a_job(before)
    requeued = before in ACTIVE_STATES and after is State.QUEUED
    if after == before or after in TRANSITIONS[before]:
        assert job.with_changes(state=after, attempt=1 + requeued).state is after
        with pytest.raises(ValueError, match="attempt"):
            job.with_changes(state=after, attempt=2 - requeued)
    else:
        with pytest.raises(ValueError, match=f"from {before} to {after}"):
            job.with_changes(state=after)


def test_a_job_begins_with_what_was_asked_for() -> None:
    new = new_job(labels={"a": "b"}, priority=3, owner="ann")
    asked = {each.name: getattr(new, each.name) for each in fields(NewJob)}
    reason = Reason(ReasonCode.WAITING_FOR_CONTROLLER, "why")
    assert Job.of(new, reason=reason) == Job(**asked, reason=reason)
    assert Job.of(new).trace is not Job.of(new).trace


def test_a_job_has_no_other_fields() -> None:
    with pytest.raises(TypeError, match="a job has no field 'nope'"):
        a_job(State.QUEUED).with_changes(nope=1)


def test_changes_leave_the_original() -> None:
    job = a_job(State.QUEUED)
    changed = job.with_changes(reason=Reason(ReasonCode.BACKING_OFF, "trying again"))
    assert changed.reason is not None
    assert job.reason is None
    assert changed.state is State.QUEUED


def test_a_job_as_of_an_earlier_attempt_is_as_if_that_had_been_its_last() -> None:
    step = StepResult("a", StepStatus.FAILED, NOON, 0, exit_code=3, end_time=NOON)
    reason = Reason(ReasonCode.EXIT_CODE, "3")
    left = {"reason": reason, "exit_code": 3, "start_time": NOON, "runtime": "docker", "steps": (step,)}
    left |= {"log_bytes": 7, "log_sha256": "0" * 64, "conclusion": Conclusion.FAILED, "end_time": NOON}
    first, second = (Attempt(number=number, **left) for number in (1, 2))  # type: ignore[arg-type]
    job = replace(a_job(State.QUEUED), max_attempts=4, attempt=3, earlier_attempts=(first, second), not_before=NOON)
    assert job.as_of(3) is job
    assert job.as_of(2) == replace(
        a_job(State.COMPLETED), max_attempts=4, attempt=2, earlier_attempts=(first,), **left
    )  # fmt: skip
    assert job.as_of(1) == job.as_of(2).as_of(1)
    with pytest.raises(IndexError):
        job.as_of(4)


def test_every_state_can_end_and_the_end_is_final() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(State.COMPLETED in after for state, after in TRANSITIONS.items() if state is not State.COMPLETED)
    assert not TRANSITIONS[State.COMPLETED]
    assert {State.STARTING, State.RUNNING} == ACTIVE_STATES
