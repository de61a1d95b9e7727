"""What the reports of a job say: its tests, their history, and coverage."""

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, Field, WithJsonSchema
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.attempts.testing import CaseChange, CaseResult, CaseStatus
from ci_common.errors import AttemptNotFound, CaseNotFound, JobNotFound
from ci_common.jobs import Job, State
from ci_common.parsing.text import shown
from ci_common.parsing.values import TEXT_PATTERN, Integer, Text
from ci_common.times import micros_to_rfc3339
from ci_common.wire.results.report_answers import CaseHistoryView, CaseView, ReportsView
from ci_common.wire.writing import summary_on_wire
from ci_persistence.reports.choosing import CaseFilter, measure
from ci_server.endpoints import Call, Endpoint, RateClass, json_answer
from ci_server.http.requests import QueryModel
from ci_server.http.responses import Document, list_document
from ci_server.jobs.job_view import attempt_of, find_job

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
MAX_HISTORY = 200
_KEY = re.compile(r"[0-9a-f]{20}")
_CURSOR = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,20})?(?:e-?[0-9]{1,3})?)_([0-9]{1,9})")
_WANTED: Final = {
    "failed": frozenset({CaseStatus.FAILED, CaseStatus.ERROR}),
    "error": frozenset({CaseStatus.ERROR}),
    "passed": frozenset({CaseStatus.PASSED}),
    "skipped": frozenset({CaseStatus.SKIPPED}),
}


def _cursor(text: str) -> str:
    if not _CURSOR.fullmatch(text):
        raise ValueError("take it from the Link header of the page before")
    return text


class AttemptQuery(QueryModel):
    """Which attempt is meant."""

    attempt: Integer | None = Field(None, ge=1, description="by default the last one")


class CasesQuery(AttemptQuery):
    """What `GET /jobs/{id}/tests` may be asked."""

    status: list[Literal["failed", "error", "passed", "skipped"]] = Field(
        default_factory=list, description="any of them; `failed` includes tests with an error, `error` is only these"
    )
    flaky: bool = Field(False, description="only tests with both verdicts on the same content")
    change: CaseChange | None = Field(None, description="since the test ran last in the project")
    slower: bool = Field(False, description="only tests that took more than twice the time, and half a second more")
    q: Annotated[Text, WithJsonSchema({"type": "string", "pattern": TEXT_PATTERN})] | None = Field(
        None, description="text in suite, class, name or file"
    )
    sort: Literal["position", "time", "growth"] = Field(
        "position", description="as in the reports; or the longest time first, or the most growth since the last run"
    )
    limit: Integer = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: (
        Annotated[
            str, AfterValidator(_cursor), WithJsonSchema({"type": "string", "pattern": f"^(?:{_CURSOR.pattern})$"})
        ]
        | None
    ) = Field(None, description="from the `Link` header of the page before")

    def to_filter(self) -> CaseFilter:
        statuses = frozenset[CaseStatus]().union(*(_WANTED[status] for status in self.status))
        return CaseFilter(statuses, self.flaky, self.change, self.slower, self.q or None)


class HistoryQuery(AttemptQuery):
    """What `GET /jobs/{id}/tests/{test}` may be asked."""

    limit: Integer = Field(50, ge=1, le=MAX_HISTORY, description="how many results at most")


async def list_tests(call: Call[CasesQuery, None]) -> Response:
    query, job = call.query, await _job(call)
    if job.tests is None:
        return await list_document(iter(()), {})
    cursor = None if query.cursor is None else _CURSOR.fullmatch(query.cursor)
    found = await call.services.storage.reports.list_cases(
        job.id,
        job.attempt,
        query.to_filter(),
        order=query.sort,
        limit=query.limit + 1,
        after=None if cursor is None else (float(cursor[1]), int(cursor[2])),
    )
    cases = found[: query.limit]
    headers = {"Link": _next_link(call, cases[-1])} if len(found) > len(cases) else {}
    return await list_document((case_on_wire(case) for case in cases), headers)


def _next_link(call: Call[CasesQuery, None], last: CaseResult) -> str:
    """Return the Link header (RFC 8288) to the page behind `last`."""
    cursor = f"{measure(call.query.sort, last.seconds, last.seconds_before)!r}_{last.position}"
    query = [(name, value) for name, value in call.request.query_params.multi_items() if name != "cursor"]
    return f'<{call.request.scope["path"]}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'


async def get_test(call: Call[HistoryQuery, None]) -> Response:
    job, key = await _job(call), call.request.path_params["test"]
    found = None
    if job.tests is not None and _KEY.fullmatch(key):
        found = await call.services.storage.reports.history(job.id, job.attempt, key, limit=call.query.limit)
    if found is None:
        raise CaseNotFound(f"job {job.id} has no test {shown(key)}; take the `id` of one in GET /jobs/{job.id}/tests")
    case, history = found
    past = [
        {
            "job_id": result.job_id,
            "attempt": result.attempt,
            "submit_time": micros_to_rfc3339(result.submit_time),
            "status": result.status,
            "seconds": result.seconds,
            "flaky": result.flaky,
            "message": result.message,
        }
        for result in history
    ]
    return Document({"test": case_on_wire(case), "history": past})


async def get_reports(call: Call[AttemptQuery, None]) -> Response:
    job = await _job(call)
    has_ended = job.state is State.COMPLETED
    stored = await call.services.storage.reports.get(job.id, job.attempt) if has_ended else {}
    return Document(
        {
            "tests": summary_on_wire(job.tests),
            "files": stored.get("files", []),
            "problems": stored.get("problems", []),
            "coverage": _coverage(stored.get("coverage")),
        }
    )


async def _job(call: Call[Any, None]) -> Job:
    job = await find_job(call)
    return job if call.query.attempt is None else attempt_of(job, call.query.attempt)


def _coverage(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    if stored is None:
        return None
    percent, before = _percent(stored), stored.get("before")
    return {
        "percent": percent,
        "lines": stored["lines"],
        "covered": stored["covered"],
        "change": None if before is None else round(percent - before["percent"], 2),
        "before": before,
        "files": [file | {"percent": _percent(file)} for file in stored["files"]],
        "files_total": stored["files_total"],
    }


def _percent(figures: dict[str, Any]) -> float:
    return round(100 * figures["covered"] / figures["lines"], 2) if figures["lines"] else 100.0


def case_on_wire(case: CaseResult) -> dict[str, Any]:
    """Return a test as the API shows it."""
    return {
        "id": case.key,
        "suite": case.suite,
        "class_name": case.class_name,
        "name": case.name,
        "status": case.status,
        "seconds": case.seconds,
        "file": case.file,
        "line": case.line,
        "message": case.message,
        "details": case.details,
        "output": case.output,
        "selector": case.selector,
        "flaky": case.flaky,
        "change": case.change,
        "seconds_before": case.seconds_before,
    }


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/tests",
        handler=list_tests,
        query=CasesQuery,
        summary="List a job's tests",
        description=(
            "JSON array of [tests](tests.md), in the order of the reports; `status`, `flaky`, `change`, `slower`, `q`, "
            "`sort`, `attempt`; the next page is in the `Link` header. Empty until the attempt has ended"
        ),
        answers={200: json_answer(list[CaseView], "The tests.", headers=("Link",))},
        errors=(JobNotFound, AttemptNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/tests/{test}",
        handler=get_test,
        query=HistoryQuery,
        summary="Get a test and its history",
        description="the test with this `id`, and its results in the jobs of the project, the newest first",
        answers={200: json_answer(CaseHistoryView, "The test and its history.")},
        errors=(JobNotFound, AttemptNotFound, CaseNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/reports",
        handler=get_reports,
        query=AttemptQuery,
        summary="Get what a job's reports say",
        description=(
            "how many tests ended how, the files that were read, what is wrong with them, and the [coverage]"
            "(tests.md#coverage)"
        ),
        answers={200: json_answer(ReportsView, "What the reports say.")},
        errors=(JobNotFound, AttemptNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
    ),
)
