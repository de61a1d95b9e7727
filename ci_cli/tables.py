"""Jobs as text for people."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ci_client.formatting import columns, size, span
from ci_common.wire import WITHOUT_CONTAINER

_NUMBERED_STEP = re.compile(r"step [0-9]+")
_RUNS = {
    "docker": "in a container",
    WITHOUT_CONTAINER: "as a process, without a container",
    "builtin": "inside the controller",
}
_START_WAYS = {
    "warm": "warm, in a container that was ready",
    "cold": "cold, in a container made for it",
    "pull": "cold, after its image was pulled",
}


def step_title(name: str) -> str:
    """Return a step's name for a sentence. The server names steps without a name `step 1` and so on."""
    return name if _NUMBERED_STEP.fullmatch(name) else f"step {name}"


def job_table(jobs: Sequence[dict[str, Any]]) -> str:
    """Return jobs as a table with a head."""
    head = ("JOB", "STATUS", "SUBMITTED", "TOOK", "PROJECT", "WHAT")
    return columns([head, *(_row(job) for job in jobs)])


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    return (
        job["job_id"],
        (job.get("conclusion") or job["status"]) + _attempts(job),
        _local(job.get("submit_time")),
        _took(job),
        job.get("project") or "",
        _what(job),
    )


def _what(job: dict[str, Any]) -> str:
    """Return what the job runs in, briefly."""
    if job.get("runtime") == WITHOUT_CONTAINER:
        return "process"
    return job.get("image") or job.get("type") or ""


def pool_table(pool: dict[str, Any]) -> str:
    """Return the warm containers as a table with a head, and a line about all of them."""
    whole = f"{pool['waiting']} of at most {pool['size']} containers are warm, at most {pool['per_key']} of one profile"
    why = f"; no more at present: {pool['held_back']}" if pool["held_back"] else ""
    head = ("PROFILE", "WAITING", "STARTING", "WANTED", "LAST USED", "IMAGE", "LIMITS")
    rows = [_profile(profile) for profile in pool["kinds"]]
    return "\n".join([*([columns([head, *rows])] if rows else []), whole + why])


def _profile(profile: dict[str, Any]) -> tuple[str, ...]:
    limits = [
        f"{name}={size(value) if name in ('memory', 'workspace') else f'{value:g}'}"
        for name, value in (profile["limits"] or {}).items()
    ]
    return (
        profile["kind"],
        *(str(profile[name]) for name in ("waiting", "starting", "wanted")),
        _local(profile["last_used"]),
        profile["image"] or "",
        ", ".join([*limits, *(["no network"] if profile["network"] is False else [])]),
    )


def job_details(job: dict[str, Any]) -> str:
    """Return the details of one job, a line each."""
    return columns([(f"{name}:", text) for name, text in _details(job) if text])


def _details(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "job", job["job_id"]
    yield "status", job["status"] + (f", {job['conclusion']}" if job.get("conclusion") else "")
    yield "reason", (job.get("reason") or {}).get("message", "")
    yield "error", job.get("error") or ""
    if (job.get("max_attempts") or 1) > 1:
        yield "attempt", f"{job['attempt']} of {job['max_attempts']}"
    for attempt in job.get("attempts") or []:
        yield f"attempt {attempt['attempt']}", _ended(attempt)
    yield "not before", _local(job.get("not_before"))
    yield "exit code", "" if job.get("exit_code") is None else str(job["exit_code"])
    yield "type", job.get("type") or ""
    yield from _surroundings(job)
    yield "project", job.get("project") or ""
    yield "labels", ", ".join(f"{key}={value}" for key, value in (job.get("labels") or {}).items())
    for name in ("submit", "start", "end", "cancel_requested"):
        yield f"{name.replace('_', ' ')} time", _local(job.get(f"{name}_time"))
    yield "took", _took(job)
    yield "retry of", job.get("retry_of") or ""
    yield "result", job.get("result") or ""
    for step in job.get("steps") or []:
        yield step_title(step["name"]), ", ".join([step["status"], *_ending(step)])
    yield "log", "" if job.get("log_bytes") is None else size(job["log_bytes"])
    yield "log sha256", job.get("log_sha256") or ""


def _surroundings(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the job runs in. A job that runs as a process has no use for its image."""
    runtime = job.get("runtime") or ""
    yield "runs", _RUNS.get(runtime, runtime)
    if runtime != WITHOUT_CONTAINER:
        yield "image", job.get("image") or ""
        yield "start", _START_WAYS.get(job.get("start_way") or "", "")


def _attempts(job: dict[str, Any]) -> str:
    return f" {job['attempt']}/{job['max_attempts']}" if (job.get("max_attempts") or 1) > 1 else ""


def _ended(attempt: dict[str, Any]) -> str:
    """Return one earlier attempt as text."""
    reason = (attempt.get("reason") or {}).get("message", "") if attempt.get("exit_code") is None else ""
    parts = [attempt["conclusion"], *([reason] if reason else []), *_ending(attempt)]
    return ", ".join([*parts, f"log {size(attempt['log_bytes'])}"])


def _ending(record: dict[str, Any]) -> Iterator[str]:
    """Yield the exit code and the duration of a step or an attempt, if it has them."""
    if record.get("exit_code") is not None:
        yield f"exit code {record['exit_code']}"
    if took := _took(record):
        yield took


def _local(instant: str | None) -> str:
    return datetime.fromisoformat(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S") if instant else ""


def _took(record: dict[str, Any]) -> str:
    if not record.get("start_time"):
        return ""
    end = record.get("end_time")
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return span(max(0.0, (until - datetime.fromisoformat(record["start_time"])).total_seconds()))


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
