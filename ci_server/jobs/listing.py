"""The query of `GET /jobs`, and the way to the next page."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request

from ci_common.jobs import Conclusion, Job, State, is_job_id
from ci_common.parsing.values import Integer, Line, Text
from ci_common.times import from_rfc3339
from ci_common.wire import WIRE_STATUS
from ci_persistence.repository import JobFilter
from ci_server.http.request_reading import read_query

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_SEARCH_CHARACTERS = 1000
_REPEATABLE = frozenset({"status", "label"})


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


Instant = Annotated[Any, BeforeValidator(_instant)]


class ListQuery(BaseModel):
    """What `GET /jobs` may be asked."""

    model_config = ConfigDict(extra="forbid")
    status: list[Literal["queued", "running", "completed"]] = Field(default_factory=list)
    conclusion: Conclusion | None = None
    type: Line | None = None
    project: Line | None = None
    label: list[Annotated[Line, AfterValidator(_label)]] = Field(default_factory=list)
    q: Annotated[Text, AfterValidator(_short)] | None = None
    since: Instant = None
    before: Instant = None
    limit: Integer = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: Annotated[str, AfterValidator(_cursor)] | None = None

    def to_filter(self) -> JobFilter:
        return JobFilter(
            states=frozenset(state for state in State if WIRE_STATUS[state] in self.status),
            conclusion=self.conclusion,
            type=self.type,
            project=self.project,
            labels=dict((label.partition(":")[::2]) for label in self.label),
            text=self.q or None,
            since=self.since,
            before=self.before,
        )


def read_list_query(request: Request) -> ListQuery:
    """Return the query of a request for a list. Raises InvalidRequest."""
    return read_query(request, ListQuery, lists=_REPEATABLE)


def next_link(request: Request, last: Job) -> str:
    """Return the Link header (RFC 8288) to the page behind `last`."""
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f'<{request.scope["path"]}?{urlencode([*query, ("cursor", last.id)])}>; rel="next"'
