"""Converts between `Job` and its row: times become microseconds, structures JSON, a reason two columns."""

import json
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from ci_common.jobs import Attempt, Conclusion, Job, NewJob, Reason, ReasonCode, StartWay, State, StepResult, StepStatus
from ci_common.times import Milestone, from_micros, to_micros, with_milestone

log = logging.getLogger(__name__)

_NEW_FIELDS = tuple(field.name for field in fields(NewJob))
_new_values = attrgetter(*_NEW_FIELDS)
CONTROLLER_FIELDS = (
    frozenset(field.name for field in fields(Job)) - {*_NEW_FIELDS} - {"cancel_requested_time", "version"}
)
"""The fields of `Job` that only the controller writes, through `update`, which counts `version` itself."""

NEW_JOB_COLUMNS = (
    *("id", "type", "submit_time", "priority", "project", "labels", "payload", "plan", "image", "has_upload"),
    *("max_attempts", "retry_of", "arrival", "reason_code", "reason_message"),
)
"""The columns that a submission fills; the others have initial values."""

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
    known = dict(zip(_NEW_FIELDS, _new_values(new), strict=True))
    known["arrival"] = with_milestone(new.arrival, Milestone.PERSISTING)
    return Job(**known, reason=_UNSEEN)


def api_columns(job: NewJob) -> dict[str, Any]:
    """Return the API's columns of a job."""
    return {
        "id": job.id,
        "type": job.type,
        "submit_time": to_micros(job.submit_time),
        "priority": job.priority,
        "project": job.project,
        "labels": to_json(job.labels),
        "payload": to_json(job.payload),
        "plan": None if job.plan is None else to_json(job.plan),
        "image": job.image,
        "has_upload": int(job.has_upload),
        "max_attempts": job.max_attempts,
        "retry_of": job.retry_of,
        "arrival": to_json(job.arrival),
    }


def new_row(job: Job) -> dict[str, Any]:
    """Return the values of NEW_JOB_COLUMNS of a job that `first_version` returned."""
    return api_columns(job) | {"reason_code": _UNSEEN.code, "reason_message": _UNSEEN.message}


def controller_columns(job: Job) -> dict[str, Any]:
    """Return the controller's columns of a job."""
    return {
        "state": job.state,
        "attempt": job.attempt,
        "reason_code": None if job.reason is None else job.reason.code,
        "reason_message": None if job.reason is None else job.reason.message,
        "not_before": _micros(job.not_before),
        "start_time": _micros(job.start_time),
        "start_boot": job.start_boot,
        "start_uptime": job.start_uptime,
        "end_time": _micros(job.end_time),
        "runtime": job.runtime,
        "start_way": job.start_way,
        "trace": to_json(job.trace),
        "stop_code": job.stop_code,
        "conclusion": job.conclusion,
        "exit_code": job.exit_code,
        "result": job.result,
        "error": job.error,
        "steps": to_json([_from_step(step) for step in job.steps]),
        "log_bytes": job.log_bytes,
        "log_sha256": job.log_sha256,
        "earlier_attempts": to_json([_from_attempt(attempt) for attempt in job.earlier_attempts]),
    }


def to_job(row: sqlite3.Row) -> Job:
    """Return the job of a row. Of a row that is not valid, return what can be read.

    Another version of the program may have written it, or a person by hand. It must neither hide the other rows nor
    seem absent, since containers and files without a row are removed.
    """
    columns = {name: row[name] for name in row.keys()}  # noqa: SIM118  # a row iterates over its values
    try:
        return _decoded(columns, lambda _, decode, value: decode(value))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError) as exc:
        _warn_of(row["id"], row["version"], f"{type(exc).__name__}: {exc}")
        return _decoded(columns, _decoded_if_possible)


@lru_cache(1000)
def _warn_of(job_id: str, version: int, problem: str) -> None:
    """Warn once for each such row, which is read many times."""
    log.warning("the row of job %s, version %d, cannot be read whole: %s", job_id, version, problem)


def _decoded(columns: dict[str, Any], decoded: Callable[[str, Callable[[Any], Any], Any], Any]) -> Job:
    known = dict(columns)
    for name, decode in _DECODERS.items():
        if known[name] is not None:
            known[name] = decoded(name, decode, known[name])
    code, message = known.pop("reason_code"), known.pop("reason_message")
    reason = None if code is None else Reason(decoded("reason_code", ReasonCode, code), message)
    return Job(**known, reason=reason)


def _decoded_if_possible(name: str, decode: Callable[[Any], Any], value: Any) -> Any:
    try:
        return decode(value)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError):
        return _UNREADABLE.get(name)


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else to_micros(instant)


def _from_step(step: StepResult) -> dict[str, Any]:
    return {
        "name": step.name,
        "status": step.status,
        "start_time": to_micros(step.start_time),
        "log_offset": step.log_offset,
        "exit_code": step.exit_code,
        "end_time": _micros(step.end_time),
    }


def _to_step(data: dict[str, Any]) -> StepResult:
    return StepResult(
        name=data["name"],
        status=StepStatus(data["status"]),
        start_time=from_micros(data["start_time"]),
        log_offset=data["log_offset"],
        exit_code=data["exit_code"],
        end_time=None if data["end_time"] is None else from_micros(data["end_time"]),
    )


def _to_steps(text: str) -> tuple[StepResult, ...]:
    return tuple(_to_step(data) for data in json.loads(text))


def _from_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "conclusion": attempt.conclusion,
        "reason": None if attempt.reason is None else [attempt.reason.code, attempt.reason.message],
        "exit_code": attempt.exit_code,
        "start_time": _micros(attempt.start_time),
        "end_time": to_micros(attempt.end_time),
        "runtime": attempt.runtime,
        "start_way": attempt.start_way,
        "trace": attempt.trace,
        "steps": [_from_step(step) for step in attempt.steps],
        "log_bytes": attempt.log_bytes,
        "log_sha256": attempt.log_sha256,
    }


def _to_attempt(data: dict[str, Any]) -> Attempt:
    changed = {
        "conclusion": Conclusion(data["conclusion"]),
        "reason": None if data["reason"] is None else Reason(ReasonCode(data["reason"][0]), data["reason"][1]),
        "start_time": None if data["start_time"] is None else from_micros(data["start_time"]),
        "end_time": from_micros(data["end_time"]),
        "start_way": None if data.get("start_way") is None else StartWay(data["start_way"]),
        "steps": tuple(_to_step(step) for step in data["steps"]),
    }
    return Attempt(**data | changed)


def _to_attempts(text: str) -> tuple[Attempt, ...]:
    return tuple(_to_attempt(data) for data in json.loads(text))


def _to_times(text: str) -> dict[str, int]:
    times: dict[str, int] = json.loads(text)
    if not all(isinstance(instant, int) for instant in times.values()):
        raise TypeError(f"these are not times: {text}")
    return times


_UNREADABLE: dict[str, Any] = {
    "submit_time": from_micros(0),
    "labels": {},
    "payload": {},
    "arrival": {},
    "trace": {},
    "steps": (),
    "earlier_attempts": (),
    "reason_code": ReasonCode.INTERNAL_ERROR,
}
"""The values that replace unreadable columns; None for all others."""
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "submit_time": from_micros,
    "labels": json.loads,
    "payload": json.loads,
    "plan": json.loads,
    "has_upload": bool,
    "cancel_requested_time": from_micros,
    "state": State,
    "not_before": from_micros,
    "start_time": from_micros,
    "end_time": from_micros,
    "arrival": _to_times,
    "start_way": StartWay,
    "trace": _to_times,
    "stop_code": ReasonCode,
    "conclusion": Conclusion,
    "steps": _to_steps,
    "earlier_attempts": _to_attempts,
}
