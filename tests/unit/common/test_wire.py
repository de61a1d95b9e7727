"""The job as the API shows it."""

from dataclasses import replace
from typing import Any

import pytest

from ci_common.attempts.parts import StartWay, StepResult, StepStatus
from ci_common.errors import InvalidRequest
from ci_common.jobs import Attempt, Conclusion, Job, Reason, ReasonCode, State
from ci_common.parsing.models import validated
from ci_common.wire.answers import StepView
from ci_common.wire.requests import CleanupRequest
from ci_common.wire.writing import job_on_wire, step_on_wire
from tests.helpers.jobs import NOON


@pytest.mark.parametrize(("runtime", "shown"), [("docker", "cold"), ("process", None)])
def test_what_runs_as_a_process_has_got_no_container(runtime: str, shown: str | None) -> None:
    reason = Reason(ReasonCode.EXIT_CODE, "1")
    ended: dict[str, Any] = {"conclusion": Conclusion.FAILED, "reason": reason, "exit_code": 1, "end_time": NOON}
    ended |= {"start_time": NOON, "runtime": runtime, "steps": (), "log_bytes": 0, "log_sha256": "0" * 64}
    attempt = replace(Attempt(number=1, **ended), start_way=StartWay.COLD)
    job = Job(id="x", type="container", submit_time=NOON, state=State.RUNNING, runtime=runtime)
    job = replace(job, start_way=StartWay.COLD, attempt=2, max_attempts=2, earlier_attempts=(attempt,))
    wire = job_on_wire(job)
    assert (wire["start_way"], wire["attempts"][0]["start_way"]) == (shown, shown)


def test_a_step_that_was_left_out_says_why() -> None:
    step = StepResult("s", StepStatus.SKIPPED, NOON, 7, end_time=NOON, reason="a step before it failed")
    shown = step_on_wire(step)
    assert shown.keys() == StepView.model_fields.keys()
    assert (shown["status"], shown["reason"], shown["exit_code"]) == ("skipped", "a step before it failed", None)


@pytest.mark.parametrize("given", [[], ["failed", "x"], "x", {}])
def test_a_cleanup_takes_no_list_that_may_mean_no_job_for_one_that_means_all(given: object) -> None:
    with pytest.raises(InvalidRequest, match=r"conclusion.*succeeded.*errored"):
        validated(CleanupRequest, {"keep": 0, "conclusion": given}, source="the body")
