"""Tests as text for people."""

from collections.abc import Iterator, Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, table
from ci_cli.tables.jobs import short_id
from ci_cli.tables.times import local, local_short, seconds
from ci_client.escapes import visible
from ci_client.formatting import span

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


def first_line(text: str | None) -> str:
    """Return the first line of a message."""
    return next(iter((text or "").splitlines()), "")


_TEST = Column("TEST", title, cut=Cut.BEGINNING)
_COLOURS = {"passed": "green", "failed": "red", "error": "red", "skipped": "yellow"}
_STATUS = Column("STATUS", lambda test: test["status"], colour=lambda test: _COLOURS.get(test["status"]))
_TOOK = Column("TOOK", lambda test: seconds(test["seconds"]), right=True)
_BEFORE = Column("BEFORE", lambda test: seconds(test["seconds_before"]), right=True, spare=1)
_FLAKY = (
    _STATUS,
    Column("PLACE", place, cut=Cut.BEGINNING, spare=2),
    _TEST,
    Column("MESSAGE", lambda test: first_line(test["message"]), cut=Cut.END, spare=1),
)
_HISTORY = (
    Column("TEST", lambda row: title(row[0]["test"]), cut=Cut.BEGINNING),
    Column("JOB", lambda row: row[1]["job_id"], short=lambda row: short_id(row[1]["job_id"])),
    Column("SUBMITTED", lambda row: local(row[1]["submit_time"]), short=lambda row: local_short(row[1]["submit_time"])),
    Column(
        "STATUS",
        lambda row: row[1]["status"] + (", flaky" if row[1]["flaky"] else ""),
        colour=lambda row: _COLOURS.get(row[1]["status"]),
    ),
    Column("TOOK", lambda row: seconds(row[1]["seconds"]), right=True, spare=1),
)


def slow_table(tests: Sequence[dict[str, Any]], *, width: int | None = None, coloured: bool = False) -> str:
    """Return tests with the time that they took, as a table with a head."""
    return table((_TOOK, _BEFORE, _STATUS, _TEST), tests, width=width, coloured=coloured)


def flaky_table(tests: Sequence[dict[str, Any]], *, width: int | None = None, coloured: bool = False) -> str:
    """Return flaky tests as a table with a head."""
    return table(_FLAKY, tests, width=width, coloured=coloured)


def other_table(tests: Sequence[dict[str, Any]], *, width: int | None = None, coloured: bool = False) -> str:
    """Return any tests as a table with a head."""
    return table((_STATUS, _TOOK, _TEST), tests, width=width, coloured=coloured)


def history_table(found: Sequence[dict[str, Any]], *, width: int | None = None, coloured: bool = False) -> str:
    """Return the results of tests in the project's jobs as a table with a head."""
    return table(_HISTORY, [(each, past) for each in found for past in each["history"]], width=width, coloured=coloured)
