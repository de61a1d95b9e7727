"""When a job reached each station of its path, as a table."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ci_client.formatting import columns


def timing_table(job: dict[str, Any]) -> str:
    """Return the stations of a job, each with the time since the first one and since the one before."""
    passed = list(_passed(job))
    if not passed:
        return "no times are known of this job"
    several = (job.get("max_attempts") or 1) > 1
    head = (*(["ATTEMPT"] if several else []), "STATION", "SINCE ACCEPT", "STEP")
    first = before = passed[0][2]
    rows: list[tuple[str, ...]] = []
    for attempt, station, instant in passed:
        cells = (station, _milliseconds(first, instant), _milliseconds(before, instant))
        rows.append((attempt, *cells) if several else cells)
        before = instant
    return columns(list(_right_aligned([head, *rows], several + 1)))


def timing_document(job: dict[str, Any]) -> dict[str, Any]:
    """Return only the timing of a job, in the form of the job."""
    attempts = [{name: attempt.get(name) for name in ("attempt", "timing")} for attempt in job.get("attempts") or []]
    own = {name: job.get(name) for name in ("job_id", "attempt", "timing")}
    return {**own, "attempts": attempts}


def _passed(job: dict[str, Any]) -> Iterator[tuple[str, str, datetime]]:
    """Yield attempt, station and time in order: the submission, the earlier attempts, and the last one."""
    from ci_common.times import SUBMISSION_MILESTONES

    own = [(entry["station"], datetime.fromisoformat(entry["time"])) for entry in job.get("timing") or []]
    for station, instant in own:
        if station in SUBMISSION_MILESTONES:
            yield "", station, instant
    for attempt in job.get("attempts") or []:
        for entry in attempt.get("timing") or []:
            yield str(attempt["attempt"]), entry["station"], datetime.fromisoformat(entry["time"])
    for station, instant in own:
        if station not in SUBMISSION_MILESTONES:
            yield str(job.get("attempt") or 1), station, instant


def _milliseconds(start: datetime, end: datetime) -> str:
    return f"{(end - start).total_seconds() * 1000:,.1f} ms"


def _right_aligned(rows: list[tuple[str, ...]], first: int) -> Iterator[tuple[str, ...]]:
    """Right-align the columns from `first` on."""
    widths = [max(len(row[column]) for row in rows) for column in range(first, len(rows[0]))]
    for row in rows:
        yield (*row[:first], *(cell.rjust(width) for cell, width in zip(row[first:], widths, strict=True)))
