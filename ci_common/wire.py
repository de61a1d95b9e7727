"""What goes over HTTP besides `Spec` and the stream: requests, and the job as users see it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, FailFast, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from ci_common.jobs import Attempt, Conclusion, Job, StepResult
from ci_common.parsing.input_schema import one_or_several
from ci_common.parsing.models import Place, StrictModel, refused
from ci_common.parsing.text import check_text
from ci_common.parsing.values import Integer, NonNegativeDuration
from ci_common.pool import PoolState
from ci_common.retention import LONGEST_AGE
from ci_common.spec import Labels, Name, Priority
from ci_common.stream import WIRE_STATUS, reason_on_wire
from ci_common.times import in_order, micros_to_rfc3339, to_rfc3339

PROBLEM_MEDIA_TYPE = "application/problem+json"
WITHOUT_CONTAINER = "process"
"""The runtime that runs jobs as processes, which have neither image nor container."""


def _check_texts(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload. Raises ValidationError if any text or name in it is not allowed, at any depth."""
    waiting: list[tuple[Place, Any]] = [((), payload)]
    while waiting:
        place, value = waiting.pop()
        try:
            match value:
                case str():
                    check_text(value)
                case dict():
                    waiting += [((*place, check_text(name)), entry) for name, entry in value.items()]
                case list():
                    waiting += [((*place, number), entry) for number, entry in enumerate(value)]
        except ValueError as exc:
            raise refused([(place, str(exc))]) from None
    return payload


class ComputedJobRequest(StrictModel):
    """The body of `POST /jobs` for the types without a workload (`ci_common.job_types.Computed`)."""

    type: str
    payload: Annotated[dict[str, Any], AfterValidator(_check_texts)] = Field(default_factory=dict)
    priority: Priority = 0
    project: Name | None = None
    labels: Labels = Field(default_factory=dict)


def _conclusions(value: Any) -> Any:
    """Return a list; one conclusion may be written without it. An empty list is refused: it could mean none, or all."""
    if value == []:
        raise ValueError(f"the list is empty; name {', '.join(Conclusion)}, or leave it out for all of them")
    return value if isinstance(value, list) else [value]


class CleanupRequest(StrictModel):
    """The body of `POST /jobs/cleanup`: which completed jobs to delete. All conditions have to hold."""

    older_than: Annotated[NonNegativeDuration, Field(le=LONGEST_AGE)] | None = None
    """The job ended more than so many seconds ago."""
    keep: Integer | None = Field(None, ge=0, lt=2**31)
    """The job is not among the newest so many of this project and conclusion."""
    project: Name | None = None
    conclusion: Annotated[list[Conclusion], FailFast(), BeforeValidator(_conclusions)] = Field(default_factory=list)
    dry_run: bool = False
    """Only return which jobs would be deleted."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["properties"]["conclusion"] = one_or_several(described["properties"]["conclusion"])
        described["anyOf"] = [_given("older_than"), _given("keep")]
        return described


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _instant(value: datetime | None) -> str | None:
    return None if value is None else to_rfc3339(value)


def step_on_wire(step: StepResult) -> dict[str, Any]:
    """Return one step as the job's `steps` list shows it."""
    return {
        "name": step.name,
        "status": step.status,
        "exit_code": step.exit_code,
        "start_time": to_rfc3339(step.start_time),
        "end_time": _instant(step.end_time),
        "log_offset": step.log_offset,
    }


def timing_on_wire(*traces: Mapping[str, int]) -> list[dict[str, str]]:
    """Return milestones in the form of the job's `timing`, in order."""
    passed = (milestone for trace in traces for milestone in in_order(trace))
    return [{"station": name, "time": micros_to_rfc3339(instant)} for name, instant in passed]


def _start_way(run: Job | Attempt) -> str | None:
    """Return how the container was got; None if the job has no container."""
    return None if run.runtime == WITHOUT_CONTAINER else run.start_way


def attempt_on_wire(attempt: Attempt) -> dict[str, Any]:
    """Return an earlier attempt as the job's `attempts` list shows it."""
    return {
        "attempt": attempt.number,
        "conclusion": attempt.conclusion,
        "reason": reason_on_wire(attempt.reason),
        "exit_code": attempt.exit_code,
        "start_time": _instant(attempt.start_time),
        "end_time": _instant(attempt.end_time),
        "runtime": attempt.runtime,
        "start_way": _start_way(attempt),
        "timing": timing_on_wire(attempt.trace),
        "log_bytes": attempt.log_bytes,
        "log_sha256": attempt.log_sha256,
        "steps": [step_on_wire(step) for step in attempt.steps],
    }


def job_on_wire(
    job: Job,
    *,
    log_bytes: int | None = None,
    steps: tuple[StepResult, ...] | None = None,
    trace: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the job as the API shows it.

    `log_bytes`, `steps` and `trace` are the live ones of a job that still runs.
    """
    return {
        "job_id": job.id,
        "type": job.type,
        "status": WIRE_STATUS[job.state],
        "conclusion": job.conclusion,
        "success": None if job.conclusion is None else job.conclusion == "succeeded",
        "reason": reason_on_wire(job.reason),
        "submit_time": _instant(job.submit_time),
        "start_time": _instant(job.start_time),
        "end_time": _instant(job.end_time),
        "exit_code": job.exit_code,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "attempts": [attempt_on_wire(attempt) for attempt in job.earlier_attempts],
        "not_before": _instant(job.not_before),
        "priority": job.priority,
        "project": job.project,
        "labels": job.labels,
        "payload": job.payload,
        "result": job.result,
        "error": job.error,
        "steps": [step_on_wire(s) for s in (job.steps if steps is None else steps)],
        "artifacts": [],
        "log_bytes": job.log_bytes if log_bytes is None else log_bytes,
        "log_sha256": job.log_sha256,
        "cancel_requested_time": _instant(job.cancel_requested_time),
        "retry_of": job.retry_of,
        "runtime": job.runtime,
        "start_way": _start_way(job),
        "timing": timing_on_wire(job.arrival, job.trace if trace is None else trace),
        "image": job.image,
    }


def pool_on_wire(pool: PoolState) -> dict[str, Any]:
    """Return the pool as the API shows it."""
    kinds = [
        {
            **kind.model_dump(mode="json", exclude={"last_used", "limits"}),
            "limits": None if kind.limits is None else kind.limits.model_dump(exclude_none=True),
            "last_used": _instant(kind.last_used),
        }
        for kind in pool.kinds
    ]
    return {**pool.model_dump(mode="json", exclude={"kinds"}), "kinds": kinds}
