"""Selects jobs with their attempts and steps, and makes a `Job` of each row; `rows` writes them."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ci_common.attempts.outcomes import Client, ResourceUse, Results, UsedImage
from ci_common.attempts.parts import (
    SHOWN_ARTIFACTS,
    Artifact,
    JobArtifacts,
    JobCache,
    JobEnvironment,
    LeftOut,
    StartWay,
    StepResult,
    StepStatus,
)
from ci_common.attempts.testing import CaseSummary
from ci_common.jobs import Attempt, Conclusion, Job, Reason, ReasonCode, State
from ci_common.times import from_micros
from ci_persistence.database import Row
from ci_persistence.dialects import Dialect

log = logging.getLogger(__name__)

_OF_JOB = (
    *("id", "type", "submit_time", "owner", "priority", "project", "labels", "payload", "plan", "image", "has_upload"),
    *(
        "upload_bytes",
        "max_attempts",
        "retry_of",
        "concurrency_group",
        "cancel_running",
        "client",
        "arrival",
        "cancel_requested_time",
    ),
    *("replaced_by", "state", "version", "attempt"),
    *("reason_code", "reason_message", "not_before", "end_time", "stop_code", "conclusion", "result", "error"),
)
_OF_ATTEMPT = (
    *("runtime", "start_way", "start_time", "start_boot", "start_uptime", "exit_code", "log_bytes", "log_sha256"),
    *("environment", "caches", "artifacts", "results", "resources", "used_image", "tests"),
)
_OF_EARLIER_ATTEMPTS = (
    *("number", "runtime", "start_way", "start_time", "trace", "end_time", "conclusion", "reason_code"),
    *("reason_message", "exit_code", "log_bytes", "log_sha256", "environment", "caches", "artifacts", "results"),
    *("resources", "used_image", "tests"),
)
OF_ARTIFACTS = ("path", "size", "sha256", "content_type", "key", "name", "expires", "removed")
_OF_STEPS = ("attempt", "name", "status", "start_time", "end_time", "exit_code", "log_offset", "reason")


def select_jobs(sql: Dialect) -> str:
    """Return the beginning of a SELECT, up to its WHERE, whose rows `to_job` takes."""
    steps = sql.json_list(
        sql.json_object(*_OF_STEPS), "SELECT * FROM steps WHERE steps.job_id = jobs.id ORDER BY steps.attempt, position"
    )
    earlier = sql.json_list(
        sql.json_object(*_OF_EARLIER_ATTEMPTS),
        "SELECT * FROM attempts AS earlier WHERE earlier.job_id = jobs.id AND earlier.number < jobs.attempt"
        " ORDER BY earlier.number",
    )
    artifacts = sql.json_list(
        sql.json_object(*OF_ARTIFACTS),
        "SELECT * FROM artifacts WHERE artifacts.job_id = jobs.id AND artifacts.attempt = jobs.attempt"
        f" ORDER BY position LIMIT {SHOWN_ARTIFACTS}",
    )
    return f"""
    SELECT {", ".join(f"jobs.{column} AS {column}" for column in _OF_JOB)},
        {", ".join(f"present.{column} AS {column}" for column in _OF_ATTEMPT)},
        coalesce(present.trace, '{{}}') AS trace,
        CASE WHEN present.artifacts IS NULL THEN '[]' ELSE {artifacts} END AS artifact_files,
        {steps} AS steps, CASE WHEN jobs.attempt > 1 THEN {earlier} ELSE '[]' END AS earlier_attempts
    FROM jobs LEFT JOIN attempts AS present ON present.job_id = jobs.id AND present.number = jobs.attempt
    """


def to_job(row: Row) -> Job:
    """Return the job of a row of `select_jobs`. Of a row that is not valid, return what can be read.

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
    known["caches"] = known["caches"] or ()
    known["results"] = known["results"] or Results()
    files = known.pop("artifact_files")
    if known["artifacts"] is not None:
        known["artifacts"] = replace(known["artifacts"], files=files or ())
    code, message = known.pop("reason_code"), known.pop("reason_message")
    reason = None if code is None else Reason(decoded("reason_code", ReasonCode, code), message)
    steps = known.pop("steps")
    earlier = tuple(replace(attempt, steps=steps.get(attempt.number, ())) for attempt in known.pop("earlier_attempts"))
    return Job(**known, reason=reason, steps=steps.get(known["attempt"], ()), earlier_attempts=earlier)


def _decoded_if_possible(name: str, decode: Callable[[Any], Any], value: Any) -> Any:
    try:
        return decode(value)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError):
        return _UNREADABLE.get(name)


def _to_steps(text: str) -> dict[int, tuple[StepResult, ...]]:
    """Return the steps by attempt."""
    steps: dict[int, tuple[StepResult, ...]] = {}
    if text == "[]":
        return steps
    for data in json.loads(text):
        step = StepResult(
            name=data["name"],
            status=StepStatus(data["status"]),
            start_time=from_micros(data["start_time"]),
            log_offset=data["log_offset"],
            exit_code=data["exit_code"],
            end_time=None if data["end_time"] is None else from_micros(data["end_time"]),
            reason=data["reason"],
        )
        steps[data["attempt"]] = (*steps.get(data["attempt"], ()), step)
    return steps


def _to_attempts(text: str) -> tuple[Attempt, ...]:
    return () if text == "[]" else tuple(_to_attempt(data) for data in json.loads(text))


def _to_attempt(data: dict[str, Any]) -> Attempt:
    code, message = data.pop("reason_code"), data.pop("reason_message")
    changed = {
        "conclusion": Conclusion(data["conclusion"]),
        "reason": None if code is None else Reason(ReasonCode(code), message),
        "start_time": None if data["start_time"] is None else from_micros(data["start_time"]),
        "end_time": from_micros(data["end_time"]),
        "start_way": None if data["start_way"] is None else StartWay(data["start_way"]),
        "environment": None if data["environment"] is None else _to_environment(data["environment"]),
        "caches": _to_caches(data["caches"]),
        "tests": None if data["tests"] is None else _to_summary(data["tests"]),
        "artifacts": None if data["artifacts"] is None else _to_artifacts(data["artifacts"]),
        "trace": _to_times(data["trace"]),
        "log_bytes": data["log_bytes"] or 0,
        "log_sha256": data["log_sha256"] or "",
        "results": _to_results(data["results"]),
        "resources": None if data["resources"] is None else _to_resources(data["resources"]),
        "used_image": None if data["used_image"] is None else _to_image(data["used_image"]),
    }
    return Attempt(**data | changed)


def _to_environment(text: str) -> JobEnvironment:
    return JobEnvironment(**json.loads(text))


def _to_summary(text: str) -> CaseSummary:
    return CaseSummary.from_stored(json.loads(text))


def _to_caches(text: str | None) -> tuple[JobCache, ...]:
    return () if text is None else tuple(JobCache(**cache) for cache in json.loads(text))


def _to_results(text: str | None) -> Results:
    return Results() if text is None else Results.from_stored(json.loads(text))


def _to_resources(text: str) -> ResourceUse:
    return ResourceUse.from_stored(json.loads(text))


def _to_image(text: str) -> UsedImage:
    return UsedImage(**json.loads(text))


def _to_client(text: str) -> Client:
    return Client(**json.loads(text))


def _to_artifacts(text: str) -> JobArtifacts:
    data = json.loads(text)
    return JobArtifacts(**data | {"left_out": tuple(LeftOut(**one) for one in data["left_out"])})


def _to_artifact_files(text: str) -> tuple[Artifact, ...]:
    return () if text == "[]" else tuple(to_artifact(data) for data in json.loads(text))


def to_artifact(data: Row | dict[str, Any]) -> Artifact:
    """Return the artifact of a row, or of the JSON of one."""
    return Artifact(**{name: data[name] for name in OF_ARTIFACTS} | {"removed": bool(data["removed"])})


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
    "caches": (),
    "results": Results(),
    "artifact_files": (),
    "steps": {},
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
    "cancel_running": bool,
    "cancel_requested_time": from_micros,
    "state": State,
    "not_before": from_micros,
    "start_time": from_micros,
    "end_time": from_micros,
    "arrival": _to_times,
    "start_way": StartWay,
    "environment": _to_environment,
    "caches": _to_caches,
    "tests": _to_summary,
    "client": _to_client,
    "results": _to_results,
    "resources": _to_resources,
    "used_image": _to_image,
    "artifacts": _to_artifacts,
    "artifact_files": _to_artifact_files,
    "trace": _to_times,
    "stop_code": ReasonCode,
    "conclusion": Conclusion,
    "steps": _to_steps,
    "earlier_attempts": _to_attempts,
}
