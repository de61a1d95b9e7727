"""The record of a run: one document with all that is known of an attempt once it has ended.

It is canonical JSON, so that anyone can compute its digest and its fingerprint again. docs/record.md describes both.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Final

from ci_common.attempts.outcomes import ResourceUse
from ci_common.attempts.parts import SHOWN_ARTIFACTS
from ci_common.jobs import WITHOUT_CONTAINER, Job, State
from ci_common.redaction import masked_spec
from ci_common.wire.writing import environment_of_attempt, job_on_wire

VERSION: Final = 1
FINGERPRINTED: Final = ("image", "steps", "environment", "upload", "artifacts")
"""The parts of `inputs`, of which the fingerprint is the digest."""
_OF_THE_JOB: Final = (
    *("job_id", "type", "attempt", "max_attempts", "project", "labels", "priority", "retry_of", "submit_time"),
    *("start_time", "end_time", "conclusion", "reason", "exit_code", "result", "error", "runtime", "start_way"),
    *("steps", "artifacts", "artifact_totals", "tests", "summary", "annotations", "outputs"),
)
"""The fields that the record has from the job, where they mean the same."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode
_WHOLE: Final = re.compile(r"\.0(?![0-9])")
"""The end of a number with a point but no fraction, in JSON."""


def canonical(value: Any) -> str:
    """Return JSON in the one form that is digested.

    Names are sorted by their characters' numbers, nothing stands between the parts, text is not escaped where JSON does
    not ask for it, and a number without a fraction is written without one. NUL becomes U+FFFD, as databases keep it.
    """
    text = _encode(value)
    # Few have anything to change, and to look through the text is faster than to look through the value.
    if "\\u0000" in text or "e+" in text or _WHOLE.search(text):
        text = _encode(_plain(value))
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _plain(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd") if "\0" in value else value
        case float() if value == int(value):
            return int(value)
        case dict():
            return {_plain(str(name)): _plain(entry) for name, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
    return value


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON in UTF-8, hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def sealed(ended: Job) -> tuple[str, str]:
    """Return the record of an attempt that has ended, as canonical JSON, and its SHA-256."""
    document = canonical(record_of(ended))
    return document, hashlib.sha256(document.encode()).hexdigest()


def record_of(job: Job) -> dict[str, Any]:
    """Return the record of the attempt that `job` is at, as far as it is known."""
    files = () if job.artifacts is None else job.artifacts.files
    shown = job_on_wire(_with_few_artifacts(job), trace={})  # The record has no times of milestones.
    plan = {} if job.plan is None else masked_spec(job.plan)
    steps, variables = plan.pop("steps", []), plan.pop("env", {})
    upload = _upload(job)
    image = _image(job)
    environment = environment_of_attempt(job.environment)
    inputs = {
        "image": None if image is None else image["digest"] or image["id"] or image["name"],
        "steps": steps,
        "environment": {
            "key": None if job.environment is None else job.environment.key,
            "variables": variables,
        },
        "upload": None if upload is None else upload["sha256"],
        "artifacts": digest(sorted([file.path, file.sha256] for file in files)) if files else None,
    }
    return {
        "version": VERSION,
        **{name: shown.get(name) for name in _OF_THE_JOB},
        "submitted_by": {
            "owner": job.owner,
            "address": None if job.client is None else job.client.address,
            "user_agent": None if job.client is None else job.client.user_agent,
        },
        "request": job.payload,
        "plan": plan or None,
        "image": image,
        "environment": environment,
        "upload": upload,
        "inputs": inputs,
        "fingerprint": digest(inputs),
        "log": {"bytes": job.log_bytes or 0, "sha256": job.log_sha256},
        "resources": resources_on_wire(job.resources),
    }


def _with_few_artifacts(job: Job) -> Job:
    """Return the job with so many artifacts as it has when it is read."""
    if job.artifacts is None:
        return job
    return replace(job, artifacts=replace(job.artifacts, files=job.artifacts.files[:SHOWN_ARTIFACTS]))


def _image(job: Job) -> dict[str, Any] | None:
    if job.image is None or job.runtime in (None, WITHOUT_CONTAINER):
        return None
    used = job.used_image
    return {
        "name": masked_spec({"image": job.image})["image"],
        "id": None if used is None else used.id,
        "digest": None if used is None else used.digest,
    }


def _upload(job: Job) -> dict[str, Any] | None:
    uploaded = job.payload.get("upload")
    if not job.has_upload or not isinstance(uploaded, dict):
        return None
    return {name: uploaded.get(name) for name in ("sha256", "size", "filename")}


def resources_on_wire(use: ResourceUse | None) -> dict[str, Any] | None:
    """Return what an attempt used as the record shows it."""
    return None if use is None else asdict(use)


def step_lines(job: Job) -> str:
    """Return the steps of an attempt as the file `steps.jsonl` has them after its end: a line of JSON each."""
    steps: Iterable[dict[str, Any]] = job_on_wire(job)["steps"]
    return "".join(f"{canonical(step)}\n" for step in steps)


def cleanup_of(job: Job) -> dict[str, Any]:
    """Return how far what the attempt left is removed: it is `pending` until the time at which it was noted as done."""
    if job.state is not State.COMPLETED:
        return {"status": "not_due", "time": None}
    done = [entry["time"] for entry in job_on_wire(job)["timing"] if entry["station"] == "cleared"]
    return {"status": "done", "time": done[-1]} if done else {"status": "pending", "time": None}
