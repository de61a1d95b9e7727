"""The state machine."""

from itertools import product

import pytest

from ci_common.jobs import ACTIVE_STATES, TRANSITIONS, Job, Reason, ReasonCode, State
from tests.helpers.jobs import NOON


def a_job(state: State) -> Job:
    return Job(id="x", type="echo", submit_time=NOON, state=state)


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_changes_keep_to_the_transitions(before: State, after: State) -> None:
    job = a_job(before)
    anew = before in ACTIVE_STATES and after is State.QUEUED
    if after == before or after in TRANSITIONS[before]:
        assert job.with_changes(state=after, attempt=1 + anew).state is after
        with pytest.raises(ValueError, match="attempt"):
            job.with_changes(state=after, attempt=2 - anew)
    else:
        with pytest.raises(ValueError, match=f"from {before} to {after}"):
            job.with_changes(state=after)


def test_changes_leave_the_original() -> None:
    job = a_job(State.QUEUED)
    changed = job.with_changes(reason=Reason(ReasonCode.BACKING_OFF, "trying again"))
    assert changed.reason is not None
    assert job.reason is None
    assert changed.state is State.QUEUED


def test_every_state_can_end_and_the_end_is_final() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(State.COMPLETED in after for state, after in TRANSITIONS.items() if state is not State.COMPLETED)
    assert not TRANSITIONS[State.COMPLETED]
    assert {State.STARTING, State.RUNNING} == ACTIVE_STATES
