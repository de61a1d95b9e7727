"""The table of the projects, for `docs/projects.md`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import write_section
from bench.projects.counts import Counts, as_reported, in_words
from bench.projects.sources import Source

SECTION = "projects"
_HEAD = (
    "project",
    "build",
    "by detection",
    "its instructions",
    "its report",
    "first run",
    "second run",
    "started",
    "note",
)


def is_explained(source: Source, result: dict[str, Any] | None) -> bool:
    """Return whether there is no difference, or the list says why."""
    return result is None or is_match(result) or bool(source.why)


def is_match(result: dict[str, Any]) -> bool:
    """Return whether both runs by detection have the counts of the project's instructions."""
    outside = result["outside"]["counts"]
    return bool(outside) and result["first"]["counts"] == outside and result["second"]["counts"] == outside


def is_reported(source: Source, result: dict[str, Any] | None) -> bool:
    """Return whether the test report has the counts that pytest has printed, or the list says why not."""
    found: dict[str, Any] = (result or {}).get("reported") or {}
    is_none = not found.get("printed") and not found.get("read")
    return result is None or is_none or is_report_match(result) or bool(source.why_report)


def is_report_match(result: dict[str, Any]) -> bool:
    """Return whether the test report has the counts that pytest has printed in the same run."""
    found: dict[str, Any] = result.get("reported") or {"printed": {}}
    return bool(found["printed"]) and found["read"] == as_reported(found["printed"])


def _in_report(counts: Counts) -> str:
    """Return what a report says, for people."""
    words = {"failed": "failed", "errors": "error", "skipped": "skipped"}
    named = (f"{counts[name]} {word}" for name, word in words.items() if counts[name])
    return ", ".join([f"{counts['total']} test{'s' * (counts['total'] != 1)}", *named])


def write_table(page: Path, sources: Sequence[Source], results: dict[str, dict[str, Any]]) -> None:
    """Put the table and its totals into the page, between its marks."""
    rows = [(source, results[source.name]) for source in sources if source.name in results]
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    lines += [f"| {' | '.join(_cells(source, result))} |" for source, result in rows]
    same = sum(is_match(result) for _, result in rows)
    prepared = sum(bool(result["second"]["hit"]) for _, result in rows)
    warm = sum(bool(result["second"]["hit"]) and result["second"]["start_way"] == "warm" for _, result in rows)
    totals = f"{len(rows)} projects: {same} with the same counts, {prepared} prepared in the second run, {warm} of them"
    reports = sum(is_report_match(result) for _, result in rows)
    totals += f" warm. {reports} reports with the counts that pytest printed."
    write_section(page, SECTION, "\n".join([totals, "", *lines]))


def _cells(source: Source, result: dict[str, Any]) -> list[str]:
    first, second, outside = result["first"], result["second"], result["outside"]
    ours = in_words(first["counts"])
    if second["counts"] != first["counts"]:
        ours += f"; then {in_words(second['counts'])}"
    theirs = "the same" if is_match(result) else in_words(outside["counts"])
    started = {True: "prepared", False: "not prepared", None: "no setup"}[second["hit"]]
    return [
        source.requirement,
        source.build,
        ours,
        theirs,
        _report(result),
        f"{first['seconds']:.0f} s",
        f"{second['seconds']:.1f} s",
        f"{started}, {second['start_way']}",
        " ".join(filter(None, (source.why, source.why_report, _without_prefix(second["note"])))),
    ]


def _report(result: dict[str, Any]) -> str:
    """Return what the report says, and what pytest has printed in the same run."""
    found = result.get("reported")
    if not found:
        return "not run"
    says = _in_report(found["read"]) if found["read"] else "none"
    if not found["printed"] and not found["read"]:
        return "none, and none printed"
    return f"{says}, as printed" if is_report_match(result) else f"{says}; printed: {in_words(found['printed'])}"


def _without_prefix(note: str) -> str:
    return note.removeprefix("ci: ").replace("|", "\\|")
