"""Tests as text for people."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ci_client.escapes import visible
from ci_client.formatting import columns, span

_CHANGES = {"newly_failing": "new", "still_failing": "failed before, too", "fixed": "fixed"}
_SHOWN_LINES = 12


def title(test: dict[str, Any]) -> str:
    """Return what a test is called."""
    return test["selector"] or "::".join(part for part in (test["class_name"] or test["suite"], test["name"]) if part)


def place(test: dict[str, Any]) -> str:
    """Return where a test failed, as editors read it; empty if that is not known."""
    if not test["file"]:
        return ""
    return test["file"] if test["line"] is None else f"{test['file']}:{test['line']}"


def failure_blocks(tests: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield each test that failed with its place and its message."""
    for test in tests:
        notes = [word for word in (_CHANGES.get(test["change"] or ""), "flaky" if test["flaky"] else "") if word]
        lines = [f"{test['status'].upper()} {title(test)}" + (f" ({', '.join(notes)})" if notes else "")]
        if where := place(test):
            lines.append(f"  at {where}")
        message = (test["message"] or "").splitlines()
        lines += [f"  {line}" for line in message[:_SHOWN_LINES]]
        if len(message) > _SHOWN_LINES:
            lines.append("  …")
        yield "\n".join(visible(line) for line in lines)


def summary_lines(job: dict[str, Any], reports: dict[str, Any]) -> Iterator[str]:
    """Yield how many tests ended how, what is wrong with the reports, and the coverage."""
    counts = job.get("tests")
    if counts is None:
        yield "no test report" if job["status"] == "completed" else "the tests are known once the job has ended"
    else:
        yield f"{counted(counts)}, {span(counts['seconds'])} in all"
    for problem in reports["problems"]:
        yield visible(f"report: {problem}")
    if (coverage := reports["coverage"]) is not None:
        yield from _coverage(coverage)


def counted(counts: dict[str, Any]) -> str:
    """Return how many tests ended how, in words."""
    names = {"failed": "failed", "errors": "with an error", "passed": "passed", "skipped": "skipped", "flaky": "flaky"}
    parts = [f"{counts[name]} {word}" for name, word in names.items() if counts[name]]
    return f"{counts['total']} {'test' if counts['total'] == 1 else 'tests'}" + (
        f": {', '.join(parts)}" if parts else ""
    )


def _coverage(coverage: dict[str, Any]) -> Iterator[str]:
    change = "" if coverage["change"] is None else f", {coverage['change']:+.2f} since {coverage['before']['job_id']}"
    yield f"{coverage['percent']:.2f} % of {coverage['lines']} lines covered{change}"
    for lost in (coverage["before"] or {}).get("lost", ())[:5]:
        yield visible(f"  {lost['path']}: {lost['percent_before']:.2f} % → {lost['percent']:.2f} %")


def slow_table(tests: Sequence[dict[str, Any]]) -> str:
    """Return tests with the time that they took, as a table with a head."""
    rows = [
        (_seconds(test["seconds"]), _seconds(test["seconds_before"]), test["status"], title(test)) for test in tests
    ]
    return columns([("TOOK", "BEFORE", "STATUS", "TEST"), *rows])


def flaky_table(tests: Sequence[dict[str, Any]]) -> str:
    """Return flaky tests as a table with a head."""
    rows = [(test["status"], place(test), title(test), first_line(test["message"])) for test in tests]
    return columns([("STATUS", "PLACE", "TEST", "MESSAGE"), *rows])


def other_table(tests: Sequence[dict[str, Any]]) -> str:
    """Return any tests as a table with a head."""
    rows = [(test["status"], _seconds(test["seconds"]), title(test)) for test in tests]
    return columns([("STATUS", "TOOK", "TEST"), *rows])


def history_table(found: Sequence[dict[str, Any]]) -> str:
    """Return the results of tests in the project's jobs as a table with a head."""
    rows = [
        (
            title(each["test"]),
            past["job_id"],
            _local(past["submit_time"]),
            past["status"] + (", flaky" if past["flaky"] else ""),
            _seconds(past["seconds"]),
        )
        for each in found
        for past in each["history"]
    ]
    return columns([("TEST", "JOB", "SUBMITTED", "STATUS", "TOOK"), *rows])


def first_line(text: str | None) -> str:
    """Return the first line of a message."""
    return next(iter((text or "").splitlines()), "")


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s"


def _local(instant: str) -> str:
    return datetime.fromisoformat(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S")
