"""The checks of the self-test, fed with what they must not let pass: a checker that cannot fail proves nothing."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ci_selftest.jobs.checks import check_job, differences
from ci_selftest.jobs.evidence import Evidence, Promise
from ci_selftest.jobs.output import Report, Say
from ci_selftest.jobs.plans import LAST_WORD, JobPlan, Kind, Way
from ci_selftest.jobs.readers import Reading
from ci_selftest.jobs.surroundings import Service, ServiceWay, Setup, SetupWay

TOKEN = "token-1-0123456789abcdef"
LINES = b"".join(b"line %d\n" % number for number in range(1000))
OUTPUT = TOKEN.encode() + b"\n" + LINES
SETUP = Setup(SetupWay.QUICK, 1)


def plan(kind: Kind = Kind.PLAIN, **more: Any) -> JobPlan:
    return JobPlan(1, kind, Way.REQUEST, ((Say(OUTPUT),),), TOKEN, **more)


def job(log: bytes = OUTPUT, conclusion: str = "succeeded", exit_code: int | None = 0, **more: Any) -> dict[str, Any]:
    return {
        "job_id": "a",
        "status": "completed",
        "conclusion": conclusion,
        "exit_code": exit_code,
        "reason": None,
        "attempt": 1,
        "attempts": [],
        "steps": [{"name": "command", "exit_code": exit_code}],
        "artifacts": [],
        "tests": None,
        "log_bytes": len(log),
        "log_sha256": hashlib.sha256(log).hexdigest(),
        **more,
    }


def reading(data: bytes = OUTPUT, told: dict[str, Any] | None = None, **more: Any) -> Reading:
    return Reading("steady", bytearray(data), told or job(), **more)  # type: ignore[arg-type]


def evidence(**more: Any) -> Evidence:
    given = {"plan": plan(), "job_id": "a", "readings": [reading()], "job": job(), "log": OUTPUT, **more}
    return Evidence(**given)


def broken(**more: Any) -> list[Promise]:
    return [violation.promise for violation in check_job(evidence(**more))]


def test_what_is_in_order_is_no_violation() -> None:
    assert broken() == []
    assert broken(starts=1, exit_status=0) == []


@pytest.mark.parametrize(
    ("got", "promises"),
    [
        (OUTPUT[:500] + OUTPUT[501:], [Promise.LOST]),
        (OUTPUT[:-1], [Promise.LOST]),
        (b"", [Promise.LOST]),
        (OUTPUT[:500] + OUTPUT[400:], [Promise.REPEATED]),
        (OUTPUT + OUTPUT[-1:], [Promise.REPEATED]),
        (OUTPUT[:500] + b"?" + OUTPUT[501:], [Promise.LOST, Promise.REPEATED]),
    ],
    ids=["a byte is missing", "the last byte is missing", "nothing came", "repeated", "a byte more", "changed"],
)
def test_a_reader_that_has_not_what_the_job_wrote(got: bytes, promises: list[Promise]) -> None:
    assert broken(readings=[reading(), reading(got)]) == promises


@pytest.mark.parametrize(
    ("log", "promises"),
    [
        (OUTPUT[:500] + OUTPUT[600:], [Promise.LOST]),
        (OUTPUT[:500] + OUTPUT[400:], [Promise.REPEATED]),
    ],
)
def test_a_log_that_all_readers_agree_on_and_the_job_did_not_write(log: bytes, promises: list[Promise]) -> None:
    assert broken(log=log, job=job(log), readings=[reading(log, job(log))]) == promises


def test_the_numbers_of_bytes_and_the_place_are_told() -> None:
    ((_, detail),) = differences(OUTPUT, OUTPUT[:500] + OUTPUT[507:], "the log")
    # What is missing could as well be a little later where the same bytes come again.
    assert detail.startswith("the log lacks 7 bytes at byte 50")
    ((_, detail),) = differences(OUTPUT, OUTPUT[:500] + OUTPUT[493:], "the log")
    assert detail.startswith("the log has 7 bytes too many at byte 50")


def test_a_reader_that_never_hears_of_the_end() -> None:
    lost = reading(OUTPUT[:100])
    lost.complete = None
    assert broken(readings=[lost]) == [Promise.LOST]
    assert broken(readings=[reading(OUTPUT[:100], problem="LogMismatch: a gap")]) == [Promise.LOST]


@pytest.mark.parametrize(
    "more",
    [
        {"job": None, "log": None},
        {"job": job(status="running", conclusion="")},
        {"job": job(status="queued", conclusion="")},
    ],
    ids=["unknown", "running for ever", "queued for ever"],
)
def test_a_job_that_is_forgotten(more: dict[str, Any]) -> None:
    assert broken(**more) == [Promise.FORGOTTEN]


def test_code_that_began_twice_counts_once_and_not_as_a_repeated_log() -> None:
    twice = TOKEN.encode() + b"\nline 0\n" + OUTPUT
    assert broken(log=twice, job=job(twice), readings=[reading(twice, job(twice))]) == [Promise.RUN_TWICE]
    assert broken(starts=2) == [Promise.RUN_TWICE]
    assert broken(job=job(attempt=2)) == [Promise.RUN_TWICE]
    assert broken(refusal="ServerError: the queue is full") == [Promise.RUN_TWICE]


@pytest.mark.parametrize(
    "told",
    [
        job(conclusion="failed", exit_code=3),
        job(exit_code=3),
        job(conclusion="cancelled", exit_code=None),
        job(conclusion="timed_out", exit_code=None),
        job(conclusion="errored", exit_code=None, reason={"code": "container_lost", "message": "gone"}),
        job(steps=[]),
    ],
    ids=lambda told: f"{told['conclusion']} {told['exit_code']} {len(told['steps'])}",
)
def test_a_wrong_verdict(told: dict[str, Any]) -> None:
    assert broken(job=told, readings=[reading(told=told)]) == [Promise.WRONG_VERDICT]


def retried(attempts: int = 2, first: bytes = OUTPUT, **earlier: Any) -> list[Promise]:
    """What is wrong with a job that failed twice; `first` is the log of its first attempt, `earlier` changes it."""
    attempt = {key: job(conclusion="failed", exit_code=3)[key] for key in ("conclusion", "exit_code", "steps")}
    attempt |= {"attempt": 1, "log_bytes": len(first), "log_sha256": hashlib.sha256(first).hexdigest(), **earlier}
    last = job(conclusion="failed", exit_code=3, attempt=attempts, attempts=[attempt])
    return broken(
        plan=plan(Kind.RETRIED, exit_code=3, max_attempts=2),
        job=last,
        earlier_logs=[first],
        readings=[reading(first + OUTPUT, last)],
    )


def test_a_job_that_is_tried_again_has_a_log_and_a_verdict_for_each_attempt() -> None:
    assert retried() == []
    assert retried(attempts=3) == [Promise.RUN_TWICE]
    assert retried(first=OUTPUT[:-1]) == [Promise.LOST]
    assert retried(first=TOKEN.encode() + OUTPUT) == [Promise.RUN_TWICE]
    assert retried(exit_code=0) == [Promise.WRONG_VERDICT]
    assert retried(conclusion="errored") == [Promise.WRONG_VERDICT]
    assert retried(log_sha256="0") == [Promise.WRONG_VERDICT]
    once = job(conclusion="failed", exit_code=3)
    gave_up = broken(plan=plan(Kind.RETRIED, exit_code=3, max_attempts=2), job=once, readings=[reading(told=once)])
    assert gave_up == [Promise.WRONG_VERDICT]


def test_a_verdict_that_is_told_in_two_ways() -> None:
    assert broken(readings=[reading(told=job(conclusion="failed", exit_code=1))]) == [Promise.WRONG_VERDICT]
    assert broken(exit_status=75) == [Promise.WRONG_VERDICT]
    assert broken(job=job(log_sha256="0" * 64), readings=[]) == [Promise.WRONG_VERDICT]


def test_a_job_that_was_hit_may_be_lost_or_have_its_own_result() -> None:
    lost = job(OUTPUT[:300], "errored", None, reason={"code": "container_lost", "message": "gone"}, steps=[])
    half: dict[str, Any] = {"job": lost, "log": OUTPUT[:300], "readings": [reading(OUTPUT[:300], lost)]}
    assert broken(was_hit=True, **half) == []
    assert broken(was_hit=False, **half) == [Promise.WRONG_VERDICT]
    assert broken(was_hit=True) == []
    other = job(OUTPUT[:300], "errored", None, reason={"code": "internal_error", "message": "?"}, steps=[])
    half |= {"job": other, "readings": [reading(OUTPUT[:300], other)]}
    assert broken(was_hit=True, **half) == [Promise.WRONG_VERDICT]


@pytest.mark.parametrize("log", [b"", OUTPUT[:500], OUTPUT[:500] + b"Terminated\n"])
def test_a_job_whose_service_was_hit(log: bytes) -> None:
    served = plan(service=Service(ServiceWay.READY))
    for code, promises in (("service_failed", []), ("start_failed", [Promise.WRONG_VERDICT])):
        hit = job(log, "errored", 9, reason={"code": code, "message": ""})
        given = {"plan": served, "was_hit": True, "job": hit, "log": log, "readings": []}
        assert broken(**given) == promises
    assert broken(**{**given, "was_hit": False}) == [Promise.WRONG_VERDICT]


def test_a_job_whose_service_fails_says_so() -> None:
    for kind, ends in ((Kind.UNSERVED, {"exit_code": None, "steps": []}), (Kind.DESERTED, {})):
        for code, promises in (("service_failed", []), ("internal_error", [Promise.WRONG_VERDICT])):
            log = b"" if kind is Kind.UNSERVED else OUTPUT[:500]
            errored = job(log, "errored", reason={"code": code, "message": ""}, **ends)
            served = plan(kind, service=Service(ServiceWay.NEVER))
            assert broken(plan=served, job=errored, log=log, readings=[]) == promises


@pytest.mark.parametrize("hit", [True, False])
def test_a_log_that_says_something_else_of_its_environment(hit: bool) -> None:
    log = (b"ci: starts from the prepared environment 0a, made just now\n" if not hit else SETUP.output) + OUTPUT
    prepared = job(log, environment={"hit": hit}, steps=[{"name": "setup", "exit_code": 0}, job()["steps"][0]])
    given = {"plan": plan(setup=SETUP), "job": prepared, "log": log, "readings": []}
    assert broken(**given) == [Promise.WRONG_VERDICT]
    assert broken(**{**given, "job": {**prepared, "environment": {"hit": not hit}}}) == []


@pytest.mark.parametrize("kind", [Kind.CANCELLED, Kind.STUBBORN, Kind.TIMED_OUT, Kind.RACING])
def test_a_job_that_is_stopped_has_the_beginning_of_its_output(kind: Kind) -> None:
    conclusion = "timed_out" if kind is Kind.TIMED_OUT else "cancelled"

    def stopped(log: bytes) -> list[Promise]:
        told = job(log, conclusion, 9)
        return broken(plan=plan(kind), log=log, job=told, readings=[reading(log, told)])

    assert stopped(b"") == []
    assert stopped(OUTPUT[:777]) == []
    assert stopped(OUTPUT[:300] + OUTPUT[301:777]) == [Promise.LOST]
    assert stopped(OUTPUT[:300] + OUTPUT[200:777]) == [Promise.REPEATED]
    heeds = kind in (Kind.CANCELLED, Kind.TIMED_OUT)
    assert (stopped(OUTPUT[:777] + LAST_WORD) == []) is heeds
    own = job()
    assert (broken(plan=plan(kind), job=own) == []) is (kind is Kind.RACING)


COUNTS = {"total": 3, "passed": 2, "failed": 1}
TESTS = [("passed 0", "passed"), ("passed 1", "passed"), ("failed 0", "failed")]


@pytest.mark.parametrize(
    ("tests", "counts", "promises"),
    [
        (TESTS, COUNTS, []),
        (TESTS[:2], COUNTS, [Promise.LOST, Promise.WRONG_VERDICT]),
        ([], None, [Promise.LOST]),
        ([*TESTS, TESTS[0]], {"total": 4, "passed": 3, "failed": 1}, [Promise.REPEATED]),
        (TESTS, {"total": 3, "passed": 3, "failed": 0}, [Promise.WRONG_VERDICT]),
    ],
    ids=["all of them", "one is missing", "none is there", "one is there twice", "counted wrong"],
)
def test_tests_that_are_not_those_of_the_report(
    tests: list[tuple[str, str]], counts: dict[str, int] | None, promises: list[Promise]
) -> None:
    planned = JobPlan(1, Kind.PLAIN, Way.REQUEST, ((Say(OUTPUT), Report(2, 1)),), TOKEN)
    assert broken(plan=planned, tests=tests, job=job(tests=counts)) == promises


def test_a_report_is_written_as_planned(tmp_path: Path) -> None:
    report = Report(2, 1)
    subprocess.run(["/bin/sh", "-c", report.shell()], check=True, env={"CI_REPORTS": str(tmp_path)})
    cases = list(ElementTree.parse(tmp_path / "tests.xml").iter("testcase"))
    found = [(case.get("name"), "failed" if len(case) else "passed") for case in cases]
    assert found == report.tests == TESTS
