"""The table of the projects, for `docs/projects.md`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import write_section
from bench.projects.counts import in_words
from bench.projects.sources import Source

SECTION = "projects"
_HEAD = ("project", "build", "by detection", "its instructions", "first run", "second run", "started", "note")


def is_explained(source: Source, result: dict[str, Any] | None) -> bool:
    """Return whether there is no difference, or the list says why."""
    return result is None or is_match(result) or bool(source.why)


def is_match(result: dict[str, Any]) -> bool:
    """Return whether both runs by detection have the counts of the project's instructions."""
    outside = result["outside"]["counts"]
    return bool(outside) and result["first"]["counts"] == outside and result["second"]["counts"] == outside


def write_table(page: Path, sources: Sequence[Source], results: dict[str, dict[str, Any]]) -> None:
    """Put the table and its totals into the page, between its marks."""
    rows = [(source, results[source.name]) for source in sources if source.name in results]
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    lines += [f"| {' | '.join(_cells(source, result))} |" for source, result in rows]
    same = sum(is_match(result) for _, result in rows)
    prepared = sum(bool(result["second"]["hit"]) for _, result in rows)
    warm = sum(bool(result["second"]["hit"]) and result["second"]["start_way"] == "warm" for _, result in rows)
    totals = f"{len(rows)} projects: {same} with the same counts, {prepared} prepared in the second run, {warm} of them"
    write_section(page, SECTION, "\n".join([f"{totals} warm.", "", *lines]))


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
        f"{first['seconds']:.0f} s",
        f"{second['seconds']:.1f} s",
        f"{started}, {second['start_way']}",
        " ".join(filter(None, (source.why, _without_prefix(second["note"])))),
    ]


def _without_prefix(note: str) -> str:
    return note.removeprefix("ci: ").replace("|", "\\|")
