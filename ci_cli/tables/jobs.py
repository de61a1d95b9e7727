"""Jobs as text for people: several as a table, one with its details."""

from collections.abc import Iterator, Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, details, table
from ci_cli.tables.times import local, local_short, took
from ci_client.formatting import span, step_title
from ci_common.jobs import WITHOUT_CONTAINER
from ci_common.parsing.text import shown_size

_SHORT_ID = 13
"""Characters of an id that differ between jobs that were not submitted in the same millisecond."""
_SHOWN_LINES = 5
"""How many lines of a summary, and how many annotations, the details of a job have."""
_SHOWN_TEXT = 100
_COLOURS = {"succeeded": "green", "running": "cyan", "cancelled": "yellow"} | dict.fromkeys(
    ("failed", "timed_out", "errored"), "red"
)
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


def status_text(job: dict[str, Any]) -> str:
    """Return where a job stands, in a word."""
    return f"{job.get('conclusion') or job['status']}{_attempts(job)}"


def colour_of(status: str) -> str | None:
    """Return the colour of a status or a conclusion, as click names it; None for the usual one."""
    return _COLOURS.get(status)


def short_id(job_id: str) -> str:
    """Return the beginning of a job's id, which commands take in its place."""
    return job_id[:_SHORT_ID]


def _what(job: dict[str, Any]) -> str:
    """Return what the job runs in, briefly."""
    if job.get("runtime") == WITHOUT_CONTAINER:
        return "process"
    return job.get("image") or job.get("type") or ""


_JOBS = (
    Column("JOB", lambda job: job["job_id"], short=lambda job: short_id(job["job_id"])),
    Column("STATUS", status_text, colour=lambda job: colour_of(job.get("conclusion") or job["status"])),
    Column(
        "SUBMITTED", lambda job: local(job.get("submit_time")), short=lambda job: local_short(job.get("submit_time"))
    ),
    Column("TOOK", took, right=True),
    Column("PROJECT", lambda job: job.get("project") or "", cut=Cut.END, spare=1),
    Column("WHAT", _what, cut=Cut.END, spare=2),
)


def job_table(jobs: Sequence[dict[str, Any]], *, width: int | None = None, coloured: bool = False) -> str:
    """Return jobs as a table with a head.

    A narrow table has the beginnings of ids, which commands take, and times without the year.
    """
    return table(_JOBS, jobs, width=width, coloured=coloured)


_ARTIFACTS = (
    Column("PATH", lambda artifact: artifact["path"], cut=Cut.BEGINNING),
    Column("SIZE", lambda artifact: shown_size(artifact["size"]), right=True),
    Column("TYPE", lambda artifact: str(artifact.get("content_type") or "").partition(";")[0], spare=2),
    Column(
        "KEPT UNTIL",
        lambda artifact: "removed" if artifact.get("removed") else local(artifact.get("expires")),
        short=lambda artifact: "removed" if artifact.get("removed") else local_short(artifact.get("expires")),
        spare=1,
    ),
    Column("SHA-256", lambda artifact: artifact["sha256"], short=lambda artifact: artifact["sha256"][:16], spare=3),
)


def artifact_table(artifacts: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return artifacts as a table with a head."""
    return table(_ARTIFACTS, artifacts, width=width)


def job_details(job: dict[str, Any], *, width: int | None = None, coloured: bool = False) -> str:
    """Return the details of one job, a line each, whose long ones go on below their beginning."""
    lines = [(name, text.splitlines()) for name, text in _details(job) if text]
    shown = [(f"{name}:" if line is text[0] else "", line) for name, text in lines for line in text]
    colours = {"status:": colour_of(job.get("conclusion") or job["status"])} if coloured else {}
    return details(shown, width=width, colours=colours)


def _details(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "job", job["job_id"]
    yield "status", job["status"] + (f", {job['conclusion']}" if job.get("conclusion") else "")
    yield "reason", (job.get("reason") or {}).get("message", "")
    yield "error", job.get("error") or ""
    if (job.get("max_attempts") or 1) > 1:
        yield "attempt", f"{job['attempt']} of {job['max_attempts']}"
    for attempt in job.get("attempts") or []:
        yield f"attempt {attempt['attempt']}", _ended(attempt)
    yield "not before", local(job.get("not_before"))
    yield "exit code", "" if job.get("exit_code") is None else str(job["exit_code"])
    if job.get("type") != "container":  # Which is the usual one, also for jobs that run as processes.
        yield "type", job.get("type") or ""
    yield from _surroundings(job)
    yield "project", job.get("project") or ""
    yield "labels", ", ".join(f"{key}={value}" for key, value in (job.get("labels") or {}).items())
    for name in ("submit", "start", "end", "cancel_requested"):
        yield f"{name.replace('_', ' ')} time", local(job.get(f"{name}_time"))
    yield "took", took(job)
    yield "retry of", job.get("retry_of") or ""
    yield "result", job.get("result") or ""
    for step in job.get("steps") or []:
        yield (
            step_title(step["name"]),
            ", ".join([step["status"], *([step["reason"]] if step.get("reason") else []), *_ending(step)]),
        )
    yield from _said(job)
    yield "log", "" if job.get("log_bytes") is None else shown_size(job["log_bytes"])
    yield "log sha256", job.get("log_sha256") or ""


def _said(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the job said about itself, briefly: errors first."""
    yield "outputs", "\n".join(f"{name}={_first_line(value)}" for name, value in (job.get("outputs") or {}).items())
    lines = [line for line in (job.get("summary") or "").splitlines() if line.strip()]
    more = [f"… {len(lines) - _SHOWN_LINES} more lines"] if len(lines) > _SHOWN_LINES else []
    yield "summary", "\n".join([*lines[:_SHOWN_LINES], *more])
    annotations = sorted(job.get("annotations") or [], key=lambda each: each["level"] != "error")
    more = [f"… {len(annotations) - _SHOWN_LINES} more"] if len(annotations) > _SHOWN_LINES else []
    yield "annotations", "\n".join([*map(_annotation, annotations[:_SHOWN_LINES]), *more])


def _annotation(annotation: dict[str, Any]) -> str:
    place = ":".join(str(annotation[name]) for name in ("file", "line") if annotation.get(name))
    title = f" [{annotation['title']}]" if annotation.get("title") else ""
    where = f" {place}:" if place else ":"
    return f"{annotation['level']}{where} {_first_line(annotation['message'])}{title}"


def _first_line(text: str) -> str:
    line = next(iter(text.splitlines()), "")
    return line if line == text and len(line) <= _SHOWN_TEXT else f"{line[:_SHOWN_TEXT]}…"


def _surroundings(job: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the job runs in. A job that runs as a process has no use for its image."""
    runtime = job.get("runtime") or ""
    yield "runs", _RUNS.get(runtime, runtime)
    if runtime != WITHOUT_CONTAINER:
        yield "image", job.get("image") or ""
        yield "start", _START_WAYS.get(job.get("start_way") or "", "")
        yield "environment", _used_environment(job.get("environment"))
        yield "caches", "\n".join(_used_cache(cache) for cache in job.get("caches") or ())


def _used_cache(cache: dict[str, Any]) -> str:
    restored = f'restored from "{cache["restored_from"]}"' if cache["restored_from"] else "not found"
    saved = f', saved as "{cache["key"]}"' if cache["saved"] else ""
    size = "" if cache["bytes"] is None else f", {shown_size(cache['bytes'])}"
    return f"{cache['path']}: {restored}{saved}{size}"


def _used_environment(environment: dict[str, Any] | None) -> str:
    if environment is None:
        return ""
    made = f"prepared {span(environment['age'])} before" if environment["hit"] else "not prepared yet"
    return f"{environment['key'][:12]}, {made}"


def _attempts(job: dict[str, Any]) -> str:
    return f" {job['attempt']}/{job['max_attempts']}" if (job.get("max_attempts") or 1) > 1 else ""


def _ended(attempt: dict[str, Any]) -> str:
    """Return one earlier attempt as text."""
    reason = (attempt.get("reason") or {}).get("message", "") if attempt.get("exit_code") is None else ""
    parts = [attempt["conclusion"], *([reason] if reason else []), *_ending(attempt)]
    return ", ".join([*parts, f"log {shown_size(attempt['log_bytes'])}"])


def _ending(record: dict[str, Any]) -> Iterator[str]:
    """Yield the exit code and the duration of a step or an attempt, if it has them."""
    if record.get("exit_code") is not None:
        yield f"exit code {record['exit_code']}"
    if duration := took(record):
        yield duration
