"""`GET /jobs`: its query, and the link to the next page."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.jobs import Conclusion, Job, State, is_job_id
from ci_common.parsing.values import TEXT_PATTERN, Integer, Line, Text
from ci_common.times import from_rfc3339
from ci_common.wire.answers import JobView
from ci_common.wire.stream import WIRE_STATUS
from ci_persistence.job_lists import JobFilter
from ci_server.endpoints import Call, Endpoint, RateClass, Reach, json_answer
from ci_server.http.requests import QueryModel
from ci_server.http.responses import list_document
from ci_server.jobs.job_view import job_documents

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_SEARCH_CHARACTERS = 1000
_LABEL_PATTERN = r"^[^:\u0000-\u001f\u007f-\u009f]*:[^\u0000-\u001f\u007f-\u009f]*$"


def _instant(text: Any) -> Any:
    return from_rfc3339(text.replace(" ", "+")) if isinstance(text, str) else text  # A bare + in a query is a space.


def _label(text: str) -> str:
    if ":" not in text:
        raise ValueError("write it as key:value")
    return text


def _short(text: str) -> str:
    if len(text) > MAX_SEARCH_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; a text to search for may have {MAX_SEARCH_CHARACTERS}")
    return text


def _cursor(text: str) -> str:
    if not is_job_id(text):
        raise ValueError("take it from the Link header of the page before")
    return text


Instant = Annotated[Any, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]

Label = Annotated[Line, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": _LABEL_PATTERN})]


class ListQuery(QueryModel):
    """What `GET /jobs` may be asked."""

    status: list[Literal["queued", "running", "completed"]] = Field(default_factory=list, description="any of them")
    conclusion: Conclusion | None = None
    type: Line | None = None
    project: Line | None = None
    label: list[Label] = Field(default_factory=list, description="`key:value`; all of them")
    q: (
        Annotated[
            Text,
            AfterValidator(_short),
            WithJsonSchema({"type": "string", "maxLength": MAX_SEARCH_CHARACTERS, "pattern": TEXT_PATTERN}),
        ]
        | None
    ) = Field(None, description="text in id, project, payload or labels")
    since: Instant = Field(None, description="submitted at this time or later")
    before: Instant = Field(None, description="submitted before this time")
    limit: Integer = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: Annotated[str, AfterValidator(_cursor), WithJsonSchema({"type": "string", "format": "uuid"})] | None = (
        Field(None, description="from the `Link` header of the page before")
    )

    def to_filter(self, projects: frozenset[str] | None) -> JobFilter:
        return JobFilter(
            states=frozenset(state for state in State if WIRE_STATUS[state] in self.status),
            conclusion=self.conclusion,
            type=self.type,
            project=self.project,
            projects=projects,
            labels=dict((label.partition(":")[::2]) for label in self.label),
            text=self.q or None,
            since=self.since,
            before=self.before,
        )


async def list_jobs(call: Call[ListQuery, None]) -> Response:
    query, services = call.query, call.services
    wanted = query.to_filter(call.identity.projects)
    found = await services.storage.jobs.list_jobs(wanted, limit=query.limit + 1, older_than=query.cursor)
    jobs = found[: query.limit]
    headers = {"Link": _next_link(call.request, jobs[-1])} if len(found) > len(jobs) else {}
    return await list_document(job_documents(services, jobs), headers)


def _next_link(request: Request, last: Job) -> str:
    """Return the Link header (RFC 8288) to the page behind `last`."""
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f'<{request.scope["path"]}?{urlencode([*query, ("cursor", last.id)])}>; rel="next"'


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/jobs",
        handler=list_jobs,
        query=ListQuery,
        summary="List jobs",
        description="JSON array of jobs, newest first; see [the list](#the-list)",
        answers={200: json_answer(list[JobView], "The jobs, newest first.", headers=("Link",))},
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        limits=Reach.VISIBLE,
    ),
)
