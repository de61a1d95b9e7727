"""Jobs as text for people."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ci_client.formatting import columns, span
from ci_common.jobs import WITHOUT_CONTAINER
from ci_common.parsing.text import shown_size

_SHOWN_SETUP = 40
"""How many characters of a setup a table shows."""
_SHORT_ID = 13
"""Characters of an id that differ between jobs that were not submitted in the same millisecond."""
_SHOWN_LINES = 5
"""How many lines of a summary, and how many annotations, the details of a job have."""
_SHOWN_TEXT = 100
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


def job_table(jobs: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return jobs as a table with a head, whose lines fit into `width`.

    A narrow table has the beginnings of ids, which commands take, and the time without the day.
    """
    head = ("JOB", "STATUS", "SUBMITTED", "TOOK", "PROJECT", "WHAT")
    whole = columns([head, *(_row(job, narrow=False) for job in jobs)])
    narrow = width is not None and max(map(len, whole.splitlines())) > width
    if not narrow:
        return whole
    rows = [head, *(_row(job, narrow=True) for job in jobs)]
    used = [number for number in range(len(head)) if number < 4 or any(row[number] for row in rows[1:])]
    return columns([[row[number] for number in used] for row in rows], width=width)


def _row(job: dict[str, Any], *, narrow: bool) -> tuple[str, ...]:
    submitted = _local(job.get("submit_time"))
    return (
        job["job_id"][:_SHORT_ID] if narrow else job["job_id"],
        status_text(job),
        submitted[5:16] if narrow else submitted,
        _took(job),
        job.get("project") or "",
        _what(job),
    )


def status_text(job: dict[str, Any]) -> str:
    """Return where a job stands, in a word."""
    return f"{job.get('conclusion') or job['status']}{_attempts(job)}"


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
        f"{name}={shown_size(value) if name in ('memory', 'workspace') else f'{value:g}'}"
        for name, value in (profile["limits"] or {}).items()
    ]
    return (
        profile["kind"],
        *(str(profile[name]) for name in ("waiting", "starting", "wanted")),
        _local(profile["last_used"]),
        profile["image"] or "",
        ", ".join([*limits, *(["no network"] if profile["network"] is False else [])]),
    )


def artifact_table(artifacts: Sequence[dict[str, Any]]) -> str:
    """Return artifacts as a table with a head."""
    head = ("PATH", "SIZE", "TYPE", "KEPT UNTIL", "SHA-256")
    return columns([head, *(_artifact(artifact) for artifact in artifacts)])


def _artifact(artifact: dict[str, Any]) -> tuple[str, ...]:
    until = "removed" if artifact.get("removed") else _local(artifact.get("expires"))
    kind = str(artifact.get("content_type") or "").partition(";")[0]
    return artifact["path"], shown_size(artifact["size"]), kind, until, artifact["sha256"][:16]


def environment_table(environments: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return prepared environments as a table with a head."""
    head = ("KEY", "LAST USED", "CREATED", "SIZE", "TOOK", "PROJECT", "IMAGE", "SETUP")
    return columns([head, *(_environment(environment) for environment in environments)], width=width)


def _environment(environment: dict[str, Any]) -> tuple[str, ...]:
    setup = " ".join(environment["setup"].split())
    return (
        environment["key"][:12],
        _local(environment["last_used"]),
        _local(environment["created"]),
        shown_size(environment["bytes"]),
        span(environment["seconds"]),
        environment["project"] or "",
        environment["image"],
        setup if len(setup) <= _SHOWN_SETUP else f"{setup[:_SHOWN_SETUP]}…",
    )


def environment_details(environment: dict[str, Any]) -> str:
    """Return the details of a prepared environment, a line each, and then its setup."""
    rows = [
        ("key:", environment["key"]),
        ("project:", environment["project"] or ""),
        ("made from:", environment["image"]),
        ("runtime has it as:", environment["reference"]),
        ("last job:", environment["job_id"]),
        ("created:", _local(environment["created"])),
        ("last used:", _local(environment["last_used"])),
        ("size:", shown_size(environment["bytes"])),
        ("setup took:", span(environment["seconds"])),
        ("renewed:", "never" if environment["pinned"] else "once it is old"),
        ("inputs:", ", ".join(environment["inputs"])),
    ]
    return f"{columns([row for row in rows if row[1]])}\n{environment['setup'].rstrip()}"


_DIFFERENCES = {
    "added": "is new",
    "missing": "is missing",
    "kind": "is something else",
    "content": "has other content",
    "mode": "has another mode",
    "owner": "has another owner",
}
_IGNORED = {"compiled": "modules that Python has compiled", "logs": "logs of the system's package manager"}


def verification_lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield what the verification of an environment has found."""
    name = f"environment {result['environment'][:12]}"
    if result["same"] is None:
        yield f"{name}: it is not known whether its setup makes the same again: {result['message']}"
        return
    found = result["comparison"]
    if result["same"]:
        yield f"{name}: its setup has made the same again, {found['files']} files"
    else:
        yield (
            f"{name}: its setup has made something else, so it depends on more than its image and its inputs, "
            f"as on the clock or the network: {found['different']} of {found['files']} files differ"
        )
    for difference in found["first"]:
        yield f"  {difference['path']} {_DIFFERENCES.get(difference['how'], difference['how'])}"
    if (more := found["different"] - len(found["first"])) > 0:
        yield f"  and {more} more"
    for kind, number in found["ignored"].items():
        yield f"  not counted: {number} {_IGNORED.get(kind, kind)}"


def cache_table(caches: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return caches as a table with a head."""
    head = ("ID", "LAST USED", "CREATED", "SIZE", "FILES", "PROJECT", "PATH", "KEY")
    return columns([head, *(_cache(cache) for cache in caches)], width=width)


def _cache(cache: dict[str, Any]) -> tuple[str, ...]:
    times = _local(cache["last_used"]), _local(cache["created"])
    size = shown_size(cache["bytes"])
    return cache["id"], *times, size, str(cache["files"]), cache["project"] or "", cache["path"], cache["key"]


def job_details(job: dict[str, Any]) -> str:
    """Return the details of one job, a line each."""
    lines = [(name, text.splitlines()) for name, text in _details(job) if text]
    return columns([(f"{name}:" if line is text[0] else "", line) for name, text in lines for line in text])


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
