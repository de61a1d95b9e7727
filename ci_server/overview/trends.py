"""How a project goes: the trend of its last jobs, and its flaky, slow and failing tests."""

from collections import Counter
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any, Final, Literal

from pydantic import Field
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.attempts.testing import CaseResult
from ci_common.errors import ProjectNotFound
from ci_common.jobs import Conclusion
from ci_common.parsing.text import shown
from ci_common.parsing.values import Integer
from ci_common.times import micros_to_rfc3339
from ci_common.wire.results.trend_answers import ProjectTestsView, TrendView
from ci_common.wire.writing import summary_on_wire
from ci_persistence.reports.over_runs import CaseTotals
from ci_persistence.reports.trends import EndedJob
from ci_server.endpoints import AnyEndpoint, Call, Endpoint, RateClass, Reach, json_answer
from ci_server.http.refusals import ScopeMissing
from ci_server.http.requests import QueryModel
from ci_server.http.responses import Document
from ci_server.jobs.list_endpoints import Label

_BY_THEMSELVES: Final = frozenset({Conclusion.SUCCEEDED, Conclusion.FAILED, Conclusion.TIMED_OUT})
"""The conclusions that tell something of the project, and not of who cancelled a job or of the machine."""


class TrendQuery(QueryModel):
    """What `GET /projects/{project}/trend` may be asked."""

    label: list[Label] = Field(default_factory=list, description="`key:value`; all of them")
    limit: Integer = Field(100, ge=1, le=500, description="how many jobs at most")


class ProjectTestsQuery(QueryModel):
    """What `GET /projects/{project}/tests` may be asked."""

    sort: Literal["flaky", "slowest", "failing"] = Field(
        "flaky", description="tests that were flaky or that failed, the most often first; or the longest first"
    )
    runs: Integer = Field(20, ge=1, le=100, description="over how many of the last jobs with tests at most")
    limit: Integer = Field(20, ge=1, le=100, description="how many tests at most")


async def get_trend(call: Call[TrendQuery, None]) -> Response:
    project, query = _project(call), call.query
    labels = dict((label.partition(":")[::2]) for label in query.label)
    jobs = await call.services.storage.trends.jobs(project, labels, limit=query.limit)
    told = [job for job in jobs if job.conclusion in _BY_THEMSELVES]
    succeeded = sum(job.conclusion is Conclusion.SUCCEEDED for job in told)
    return Document(
        {
            "project": project,
            "conclusions": Counter(job.conclusion for job in jobs),
            "success": round(succeeded / len(told), 4) if told else None,
            "seconds": _seconds([job.seconds for job in told if job.seconds is not None]),
            "jobs": [_job_on_wire(job) for job in jobs],
        }
    )


async def list_project_tests(call: Call[ProjectTestsQuery, None]) -> Response:
    project, query = _project(call), call.query
    trends = call.services.storage.trends
    runs, tests = await trends.cases(project, query.sort, runs=query.runs, limit=query.limit)
    return Document({"project": project, "runs": runs, "tests": [_test_on_wire(*each) for each in tests]})


def _project(call: Call[Any, None]) -> str:
    """Return the project of the path, which jobs may name without its having been created. Raises ProjectNotFound."""
    name = str(call.request.path_params["project"])
    if call.identity.sees(name):
        return name
    if Scope.PROJECTS_READ in call.identity.scopes_in(name):
        raise ScopeMissing(f"{call.identity.name} may see the project {shown(name)}, and not its jobs")
    raise ProjectNotFound(f"no project {shown(name)} has been created")


def _seconds(taken: Sequence[float]) -> dict[str, float] | None:
    if not taken:
        return None
    p95 = quantiles(taken, n=20, method="inclusive")[-1] if len(taken) > 1 else taken[0]
    return {"median": round(median(taken), 3), "p95": round(p95, 3), "longest": round(max(taken), 3)}


def _job_on_wire(job: EndedJob) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "conclusion": job.conclusion,
        "submit_time": micros_to_rfc3339(job.submit_time),
        "end_time": micros_to_rfc3339(job.end_time),
        "seconds": job.seconds,
        "waited_seconds": job.waited_seconds,
        "tests": summary_on_wire(job.tests),
        "coverage": job.coverage,
    }


def _test_on_wire(case: CaseResult, totals: CaseTotals) -> dict[str, Any]:
    run = totals.last.run
    return {
        "id": case.key,
        "suite": case.suite,
        "class_name": case.class_name,
        "name": case.name,
        "file": case.file,
        "runs": totals.runs,
        "passed": totals.passed,
        "failed": totals.failed,
        "skipped": totals.skipped,
        "flaky": totals.flaky,
        "mean_seconds": None if totals.mean is None else round(totals.mean, 6),
        "longest_seconds": totals.longest,
        "last": {
            "job_id": run.job_id,
            "attempt": run.attempt,
            "submit_time": micros_to_rfc3339(run.submit_time),
            "status": case.status,
            "seconds": case.seconds,
            "message": case.message,
        },
    }


ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/projects/{project:rest}/trend",
        handler=get_trend,
        query=TrendQuery,
        summary="Get the trend of a project",
        description=(
            "how its last `limit` jobs went that have ended: conclusions, durations, tests and coverage of each, and "
            "over all; `label` narrows it, among the last 1,000. Of every name that jobs have as their project"
        ),
        answers={200: json_answer(TrendView, "The trend.")},
        errors=(ProjectNotFound,),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="GET",
        path="/projects/{project:rest}/tests",
        handler=list_project_tests,
        query=ProjectTestsQuery,
        summary="List the tests of a project that need a look",
        description=(
            "its [tests](tests.md) over the last `runs` jobs that have any: with `sort` `flaky`, `slowest` or "
            "`failing`. Each with its last result, and the `id` for its history"
        ),
        answers={200: json_answer(ProjectTestsView, "The tests.")},
        errors=(ProjectNotFound,),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        limits=Reach.ONE,
    ),
)
