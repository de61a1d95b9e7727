"""The final checks of all jobs, with lists and answers that changed."""

from dataclasses import replace

import pytest

from ci_selftest.jobs.checks import check_again, check_listed, check_unknown, verdict_of
from ci_selftest.jobs.evidence import Evidence, Promise
from tests.unit.selftest.test_checks import OUTPUT, evidence, job


def promises(violations: object) -> list[Promise]:
    return [violation.promise for violation in violations]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("job_id", "listed", "expected"),
    [
        ("a", ["a"], []),
        (None, [], []),
        (None, ["a"], []),
        ("a", [], [Promise.FORGOTTEN]),
        ("a", ["b"], [Promise.FORGOTTEN]),
        ("a", ["a", "b"], [Promise.RUN_TWICE]),
        (None, ["a", "b"], [Promise.RUN_TWICE]),
    ],
)
def test_the_list_against_the_submissions(job_id: str | None, listed: list[str], expected: list[Promise]) -> None:
    assert promises(check_listed(evidence(job_id=job_id), listed)) == expected


def test_jobs_that_were_never_submitted() -> None:
    assert promises(check_unknown(["x", "y"], 7)) == [Promise.RUN_TWICE, Promise.RUN_TWICE]


def test_a_job_that_has_not_completed_tells_nothing() -> None:
    assert verdict_of(None) is None
    assert verdict_of(job(status="running")) is None


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (evidence(), []),
        (evidence(job=None, log=None), [Promise.FORGOTTEN]),
        (evidence(log=None, trouble="ServerError: no such job"), [Promise.FORGOTTEN]),
        (evidence(job=job(status="running")), [Promise.FORGOTTEN]),
        (evidence(job=job(conclusion="cancelled", exit_code=None)), [Promise.WRONG_VERDICT]),
        (evidence(log=OUTPUT[:-1]), [Promise.LOST]),
        (evidence(log=OUTPUT + b"more"), [Promise.REPEATED]),
    ],
)
def test_a_job_that_is_read_again(now: Evidence, expected: list[Promise]) -> None:
    before = verdict_of(job())
    assert before is not None
    assert promises(check_again(before, now)) == expected
    assert promises(check_again(replace(before, log_sha256="0"), evidence())) == [Promise.WRONG_VERDICT, Promise.LOST]
