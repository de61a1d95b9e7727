"""Makes rows of a `Job`: times become microseconds, structures JSON, a reason two columns. `decoding` reads them."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from ci_common.attempts.parts import Artifact, JobArtifacts, StepResult
from ci_common.jobs import Attempt, Job, NewJob, Reason, ReasonCode, State
from ci_common.times import Milestone, from_micros, to_micros, with_milestone

_NEW_FIELDS = tuple(field.name for field in fields(NewJob))
CONTROLLER_FIELDS = (
    frozenset(field.name for field in fields(Job))
    - {*_NEW_FIELDS}
    - {"cancel_requested_time", "replaced_by", "version"}
)
"""The fields of `Job` that only the controller writes, through `update`, which counts `version` itself."""

_UNSEEN = Reason(ReasonCode.WAITING_FOR_CONTROLLER, "Waiting for a controller to see the job.")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_json(value: Any) -> str:
    """Return compact JSON, kept readable so that it can be searched. Raises ValueError for what JSON cannot hold."""
    if value == {}:
        return "{}"
    text = _encode(value)
    # Half of a surrogate pair has no UTF-8; it can only stand in a string, where this is its JSON escape.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def first_version(new: NewJob) -> Job:
    """Return a new job as it is stored now, before any controller has seen it."""
    return Job.of(new, arrival=with_milestone(new.arrival, Milestone.PERSISTING), reason=_UNSEEN)


def api_columns(job: NewJob) -> dict[str, Any]:
    """Return the API's columns of a job."""
    return {
        "id": job.id,
        "type": job.type,
        "submit_time": to_micros(job.submit_time),
        "owner": job.owner,
        "priority": job.priority,
        "project": job.project,
        "labels": to_json(job.labels),
        "payload": to_json(job.payload),
        "plan": None if job.plan is None else to_json(job.plan),
        "image": job.image,
        "has_upload": int(job.has_upload),
        "upload_bytes": job.upload_bytes,
        "max_attempts": job.max_attempts,
        "retry_of": job.retry_of,
        "concurrency_group": job.concurrency_group,
        "cancel_running": int(job.cancel_running),
        "client": None if job.client is None else to_json(_storable_values(asdict(job.client))),
        "arrival": to_json(job.arrival),
    }


def new_row(job: Job) -> dict[str, Any]:
    """Return the columns that a submission fills, of a job that `first_version` returned."""
    return api_columns(job) | {"reason_code": _UNSEEN.code, "reason_message": _UNSEEN.message}


def controller_columns(job: Job) -> dict[str, Any]:
    """Return the controller's columns of a job."""
    return {
        "state": job.state,
        "attempt": job.attempt,
        "reason_code": None if job.reason is None else job.reason.code,
        "reason_message": None if job.reason is None else _storable(job.reason.message),
        "not_before": _micros(job.not_before),
        "end_time": _micros(job.end_time),
        "stop_code": job.stop_code,
        "conclusion": job.conclusion,
        "result": None if job.result is None else _storable(job.result),
        "error": None if job.error is None else _storable(job.error),
    }


def changed_columns(before: Job, after: Job) -> dict[str, Any]:
    """Return those of the controller's columns of a job in which it differs from what it was before."""
    known = controller_columns(before)
    return {name: value for name, value in controller_columns(after).items() if value != known[name]}


def attempt_columns(job: Job) -> dict[str, Any]:
    """Return the row of a job's current attempt."""
    return _encoded(_CURRENT, job) | _reason_columns(_end_of(job)) | {"job_id": job.id, "number": job.attempt}


def ended_attempt_columns(seen: Job, attempt: Attempt) -> dict[str, Any]:
    """Return the row of an attempt that is followed by another one; `seen` is the job during it."""
    return (
        _encoded(_ANY, attempt)
        | _reason_columns(attempt.reason)
        | {"job_id": seen.id, "number": attempt.number}
        | {"start_boot": seen.start_boot, "start_uptime": seen.start_uptime}
    )


def changed_attempt_columns(before: Job | None, after: Job) -> dict[str, Any]:
    """Return those columns of a job's current attempt in which it differs from what it was before.

    None stands for a job of whose attempt nothing is known.
    """
    seen, reason = (_NOTHING, None) if before is None else (_current_values(before), _end_of(before))
    changed = {
        name: None if value is None else encode(value)
        for (name, encode), value, known in zip(_CURRENT.items(), _current_values(after), seen, strict=True)
        if value is not known and value != known
    }
    return changed if _end_of(after) == reason else changed | _reason_columns(_end_of(after))


def is_blank(job: Job) -> bool:
    """Return whether nothing is known of the job's current attempt, which then may have no row."""
    return _end_of(job) is None and _current_values(job) == _NOTHING


def _encoded(columns: dict[str, Callable[[Any], Any]], attempt: Attempt | Job) -> dict[str, Any]:
    values = {name: getattr(attempt, name) for name in columns}
    return {name: None if value is None else columns[name](value) for name, value in values.items()}


def _end_of(job: Job) -> Reason | None:
    """Return why the job's attempt has ended, None if it has not."""
    return job.reason if job.state is State.COMPLETED else None


def _reason_columns(reason: Reason | None) -> dict[str, Any]:
    return {
        "reason_code": None if reason is None else reason.code,
        "reason_message": None if reason is None else _storable(reason.message),
    }


def _artifact_totals(artifacts: JobArtifacts) -> str:
    """Return what the attempt's own row says of its artifacts, which have rows themselves."""
    return to_json(
        {
            "number": artifacts.number,
            "bytes": artifacts.bytes,
            "left_out_number": artifacts.left_out_number,
            "left_out": [asdict(left_out) for left_out in artifacts.left_out],
        }
    )


def artifact_row(position: int, artifact: Artifact) -> dict[str, Any]:
    """Return the columns of an artifact, besides those that name its attempt."""
    return {
        "position": position,
        "path": artifact.path,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "content_type": artifact.content_type,
        "key": artifact.key,
        "name": artifact.name,
        "expires": artifact.expires,
        "removed": int(artifact.removed),
    }


def step_row(position: int, step: StepResult) -> dict[str, Any]:
    """Return the columns of a step, besides those that name its attempt."""
    return {
        "position": position,
        "name": _storable(step.name),
        "status": step.status,
        "start_time": to_micros(step.start_time),
        "end_time": _micros(step.end_time),
        "exit_code": step.exit_code,
        "log_offset": step.log_offset,
        "reason": None if step.reason is None else _storable(step.reason),
    }


def _storable(text: str) -> str:
    """Return the text without NUL, which PostgreSQL has no way to keep."""
    return text.replace("\0", "\ufffd")


def _storable_values(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _storable(value) if isinstance(value, str) else value for name, value in values.items()}


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else to_micros(instant)


def _as_it_is(value: Any) -> Any:
    return value


_ANY: dict[str, Callable[[Any], Any]] = {
    "runtime": _as_it_is,
    "start_way": _as_it_is,
    "environment": lambda environment: to_json(asdict(environment)),
    "caches": lambda caches: to_json([asdict(cache) for cache in caches]) if caches else None,
    "artifacts": _artifact_totals,
    "start_time": to_micros,
    "trace": to_json,
    "end_time": to_micros,
    "conclusion": _as_it_is,
    "exit_code": _as_it_is,
    "log_bytes": _as_it_is,
    "log_sha256": _as_it_is,
    "tests": lambda tests: to_json(tests.stored()),
    "results": lambda results: to_json(results.stored()) if results else None,
    "resources": lambda resources: to_json(resources.stored()),
    "used_image": lambda image: to_json(asdict(image)),
}
"""The columns of every attempt that have the name of their field, and how they are written; None is always NULL."""
_CURRENT = _ANY | {"start_boot": _as_it_is, "start_uptime": _as_it_is}
"""Those of the attempt that a job is at."""
_current_values = attrgetter(*_CURRENT)
_NOTHING = _current_values(Job(id="", type="", submit_time=from_micros(0)))
"""What a job says of an attempt of which nothing is known."""
