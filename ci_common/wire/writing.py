"""Writes jobs, environments, caches and the pool as dictionaries for the API, as `answers` describes them."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ci_common.attempts.outcomes import Annotation, Results
from ci_common.attempts.parts import JobCache, JobEnvironment, StepResult
from ci_common.attempts.testing import CaseSummary
from ci_common.environments import Environment
from ci_common.jobs import WITHOUT_CONTAINER, Attempt, Job
from ci_common.pool import PoolState
from ci_common.redaction import masked_spec
from ci_common.spec_parts.caches import StoredCache
from ci_common.times import in_order, micros_to_rfc3339, to_rfc3339
from ci_common.wire.results.artifacts import artifact_on_wire, totals_on_wire
from ci_common.wire.stream import WIRE_STATUS, reason_on_wire


def _instant(value: datetime | None) -> str | None:
    return None if value is None else to_rfc3339(value)


def step_on_wire(step: StepResult) -> dict[str, Any]:
    """Return one step as the job's `steps` list shows it."""
    return {
        "name": step.name,
        "status": step.status,
        "reason": step.reason,
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


def environment_of_attempt(environment: JobEnvironment | None) -> dict[str, Any] | None:
    """Return the prepared environment of an attempt as the API shows it."""
    if environment is None:
        return None
    created = None if environment.created is None else micros_to_rfc3339(environment.created)
    return {"key": environment.key, "created": created, "age": environment.age, "hit": environment.hit}


def environment_on_wire(environment: Environment) -> dict[str, Any]:
    """Return a prepared environment as the API shows it."""
    return {
        "key": environment.key,
        "project": environment.project,
        "job_id": environment.job_id,
        "runtime": environment.runtime,
        "image": environment.image,
        "reference": environment.reference,
        "setup": environment.setup,
        "inputs": list(environment.inputs),
        "pinned": environment.pinned,
        "created": to_rfc3339(environment.created_time),
        "last_used": to_rfc3339(environment.last_used_time),
        "bytes": environment.size,
        "seconds": environment.seconds,
    }


def caches_of_attempt(caches: tuple[JobCache, ...]) -> list[dict[str, Any]]:
    """Return what became of the caches of an attempt as the API shows it."""
    return [asdict(cache) for cache in caches]


def cache_on_wire(cache: StoredCache) -> dict[str, Any]:
    """Return a cache as the API shows it."""
    return {
        "id": cache.id,
        "project": cache.project,
        "path": cache.path,
        "key": cache.key,
        "job_id": cache.job_id,
        "created": to_rfc3339(cache.created_time),
        "last_used": to_rfc3339(cache.last_used_time),
        "bytes": cache.size,
        "files": cache.files,
    }


def summary_on_wire(tests: CaseSummary | None) -> dict[str, Any] | None:
    """Return how many tests ended how, as the API shows it."""
    return None if tests is None else tests.stored()


def annotation_on_wire(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation as the API shows it."""
    return asdict(annotation)


def results_on_wire(results: Results) -> dict[str, Any]:
    """Return what an attempt said about itself as the API shows it."""
    return {
        "summary": results.summary,
        "annotations": [annotation_on_wire(annotation) for annotation in results.annotations],
        "outputs": results.outputs,
    }


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
        "environment": environment_of_attempt(attempt.environment),
        "caches": caches_of_attempt(attempt.caches),
        "artifact_totals": totals_on_wire(attempt.artifacts),
        "tests": summary_on_wire(attempt.tests),
        "timing": timing_on_wire(attempt.trace),
        "log_bytes": attempt.log_bytes,
        "log_sha256": attempt.log_sha256,
        "steps": [step_on_wire(step) for step in attempt.steps],
        **results_on_wire(attempt.results),
    }


def concurrency_on_wire(job: Job) -> dict[str, Any] | None:
    """Return the concurrency group of a job, or None for a job without one."""
    if job.concurrency_group is None:
        return None
    return {"group": job.concurrency_group, "cancel_running": job.cancel_running}


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
        "concurrency": concurrency_on_wire(job),
        "owner": job.owner,
        "project": job.project,
        "labels": job.labels,
        "untrusted": bool((job.plan or {}).get("untrusted")),
        "payload": job.payload,
        "result": job.result,
        "error": job.error,
        "steps": [step_on_wire(s) for s in (job.steps if steps is None else steps)],
        "artifacts": [artifact_on_wire(artifact) for artifact in (job.artifacts.files if job.artifacts else ())],
        "artifact_totals": totals_on_wire(job.artifacts),
        "tests": summary_on_wire(job.tests),
        "log_bytes": job.log_bytes if log_bytes is None else log_bytes,
        "log_sha256": job.log_sha256,
        "cancel_requested_time": _instant(job.cancel_requested_time),
        "retry_of": job.retry_of,
        "runtime": job.runtime,
        "start_way": _start_way(job),
        "services": _services(job),
        "environment": environment_of_attempt(job.environment),
        "caches": caches_of_attempt(job.caches),
        **results_on_wire(job.results),
        "timing": timing_on_wire(job.arrival, job.trace if trace is None else trace),
        "image": job.image,
    }


def _services(job: Job) -> dict[str, str]:
    """Return the image of each service; of a plan that is not valid, what can be read of it."""
    services = (job.plan or {}).get("services")
    if not isinstance(services, dict):
        return {}
    images = {name: service.get("image") for name, service in services.items() if isinstance(service, dict)}
    return {name: masked_spec({"image": image})["image"] for name, image in images.items() if isinstance(image, str)}


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
