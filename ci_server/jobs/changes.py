"""What a retry changes: the plan of the job before with some of its fields replaced, checked as a new one is."""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from ci_common.errors import FieldError, NotRetryable
from ci_common.job_types import JOB_TYPES, Workload
from ci_common.jobs import NewJob
from ci_common.parsing.models import invalid
from ci_common.redaction import masked_spec
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Spec
from ci_common.wire.changes import RetryChanges
from ci_server.detection.projects import check_plan, plan_steps

_OF_THE_JOB = frozenset({"priority", "project", "labels"})
_ALIKE = ("image", "timeout", "no_output_timeout", "stop_grace", "network")
"""What a spec and a plan have under the same name."""


def changed(again: NewJob, changes: RetryChanges, settings: Settings) -> NewJob:
    """Return the new job with the changes. Raises InvalidRequest, and NotRetryable for what it does not have."""
    given = changes.model_fields_set
    if not given:
        return again
    kind = JOB_TYPES.get(again.type)
    if (others := sorted(given - _OF_THE_JOB)) and not (kind and isinstance(kind.carried_out_by, Workload)):
        raise NotRetryable(f"a job of the type {again.type} has no {others[0]} to change; only container jobs have")
    job = replace(
        again,
        priority=again.priority if changes.priority is None else changes.priority,
        project=changes.project or again.project,
        labels=again.labels | changes.labels,
    )
    if not others:
        return job
    plan = _planned(job, changes, settings)
    return replace(
        job,
        plan=plan.model_dump(mode="json"),
        image=plan.image,
        max_attempts=plan.retry.max_attempts,
        payload=_payload(job.payload, changes),
    )


def _planned(job: NewJob, changes: RetryChanges, settings: Settings) -> ExecutionPlan:
    try:
        plan = ExecutionPlan.model_validate(job.plan)
    except ValidationError as exc:
        raise NotRetryable(f"the plan of job {job.retry_of} cannot be read, so it cannot be changed") from exc
    limits = plan.limits.model_dump(exclude_none=True) | changes.limits.model_dump(exclude_none=True)
    longest = settings.max_log_bytes
    if limits.get("log", 0) > longest:
        message = f"{limits['log']} bytes are more than CI_MAX_LOG_BYTES allows here; ask for at most {longest}"
        raise invalid("the body", FieldError("limits.log", message))
    values: dict[str, Any] = {name: getattr(changes, name) for name in _ALIKE if getattr(changes, name) is not None}
    retry = plan.retry.model_dump(mode="json") | changes.retry.model_dump(mode="json", exclude_unset=True)
    values |= {"env": plan.env | changes.env, "limits": limits, "retry": retry}
    spec = Spec(command=changes.command, steps=changes.steps)
    if (steps := plan_steps(spec)) is not None:
        before = plan.steps[: plan.setup.steps if plan.setup else 0]
        values["steps"] = [step.model_dump() for step in (*before, *steps)]
    if changes.fresh is not None and plan.setup is not None:
        values["setup"] = plan.setup.model_dump() | {"fresh": changes.fresh}
    made = ExecutionPlan.model_validate(plan.model_dump() | values)
    check_plan(made, spec if steps is not None else Spec())
    return made


def _payload(before: dict[str, Any], changes: RetryChanges) -> dict[str, Any]:
    """Return the request as it is shown: that of the job before with the changes in it."""
    document = masked_spec(changes.model_dump(mode="json", exclude_unset=True, by_alias=True))
    payload = dict(before)
    if {"command", "steps"} & document.keys():
        payload = {name: value for name, value in payload.items() if name not in ("command", "steps")}
    for name, value in document.items():
        old = payload.get(name)
        payload[name] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return payload
