"""Records of runs for people: their parts as lines, and their checks as a table."""

from collections.abc import Iterator, Sequence
from typing import Any

from ci_client.formatting import columns
from ci_client.records import Check
from ci_common.parsing.text import shown_size

_MOST_FILES = 50


def record_details(record: dict[str, Any]) -> str:
    """Return a record, a line each part."""
    return columns([(f"{name}:", text) for name, text in _details(record) if text])


def _details(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    run = record["run"]
    yield "job", f"{run['job_id']}, attempt {run['attempt']} of {run['max_attempts']}"
    yield "result", run.get("conclusion") or "not ended"
    who = run["submitted_by"]
    yield "submitted by", ", ".join(str(who[name]) for name in ("owner", "address", "user_agent") if who.get(name))
    image = run.get("image") or {}
    yield "image", image.get("name") or ""
    yield "image digest", image.get("digest") or image.get("id") or ""
    yield "environment", (run.get("environment") or {}).get("key") or ""
    upload = run.get("upload") or {}
    yield "upload", f"{shown_size(upload.get('size') or 0)}, sha256 {upload['sha256']}" if upload.get("sha256") else ""
    yield "steps", ", ".join(f"{step['name']} {step['status']}" for step in run.get("steps") or [])
    yield "artifacts", str((run.get("artifact_totals") or {}).get("number") or "")
    yield "outputs", ", ".join(sorted(run.get("outputs") or {}))
    used = run.get("resources") or {}
    if used.get("peak_memory") is not None:
        yield "peak memory", shown_size(used["peak_memory"])
    if used.get("cpu_seconds") is not None:
        yield "processor time", f"{used['cpu_seconds']:.2f} s"
    yield "disk", _transferred(used, "read_bytes", "written_bytes", "read", "written")
    yield "network", _transferred(used, "received_bytes", "sent_bytes", "received", "sent")
    yield "samples", str(len(used.get("samples") or ()) or "")
    yield "log", f"{shown_size(run['log']['bytes'])}, sha256 {run['log']['sha256']}"
    yield "fingerprint", run["fingerprint"]
    yield "record sha256", record.get("sha256") or ""
    yield "cleaned up", record["cleanup"]["status"].replace("_", " ")


def _transferred(used: dict[str, Any], one: str, other: str, *names: str) -> str:
    sizes = [used.get(one), used.get(other)]
    known = [f"{shown_size(size)} {name}" for size, name in zip(sizes, names, strict=True) if size is not None]
    return ", ".join(known)


def file_lines(files: list[tuple[str, str]] | None, *, are_same: bool) -> Iterator[str]:
    """Yield the changed files of two uploads, which are known to be the same or not."""
    if files is None:
        if not are_same:
            yield "files: their uploads differ, and there is no list of both"
        return
    for sign, path in files[:_MOST_FILES]:
        yield f"{sign} {path}"
    if len(files) > _MOST_FILES:
        yield f"and {len(files) - _MOST_FILES} more files"


def check_table(checks: Sequence[Check]) -> str:
    """Return checks, a line each."""
    return columns([("ok" if check.ok else "NOT OK", check.what, check.text) for check in checks])
