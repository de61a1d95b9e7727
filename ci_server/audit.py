"""The endpoints of the audit: its entries, and whether their chain holds. Entries are made by the boundary."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.parsing.values import Integer, Line
from ci_common.sharing.audit import Mark, Outcome, Recorded, recorded_on_wire
from ci_common.wire.access.audit import MARK_PATTERN, AuditEntryView, VerifiedView, verified_on_wire
from ci_persistence.stores.audit import AuditFilter
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, json_answer
from ci_server.http.requests import QueryModel
from ci_server.http.responses import Document, accepted_types, list_document
from ci_server.jobs.list_endpoints import Instant

JSON_LINES: Final = "application/jsonl"
_LINE_TYPES: Final = frozenset({JSON_LINES, "application/x-ndjson", "application/jsonlines", "application/x-jsonlines"})
_JSON_TYPES: Final = frozenset({Document.media_type, "application/*", "*/*"})
_MOST: Final = 1000
_HIGHEST: Final = 10**18


def _mark(text: str) -> Mark:
    return Mark.parse(text)


class AuditQuery(QueryModel):
    """What `GET /audit` may be asked."""

    actor: Line | None = None
    action: Line | None = None
    target: Line | None = Field(None, description="the path of a thing; with all that is below it")
    project: Line | None = None
    outcome: Annotated[Outcome, Field(strict=False)] | None = None
    since: Instant = Field(None, description="at this time or later")
    before: Instant = Field(None, description="before this time")
    limit: Integer = Field(100, ge=1, le=_MOST)
    cursor: Integer | None = Field(
        None, ge=1, le=_HIGHEST, description="from the `Link` header of the page before: entries with lower numbers"
    )
    after: Integer | None = Field(
        None, ge=0, le=_HIGHEST, description="entries with higher numbers, the oldest first; 0 for all that are kept"
    )

    def to_filter(self) -> AuditFilter:
        return AuditFilter(
            actor=self.actor,
            action=self.action,
            target=self.target,
            project=self.project,
            outcome=self.outcome,
            since=self.since,
            before=self.before,
        )


class VerifyQuery(QueryModel):
    """What `GET /audit/verify` may be asked."""

    mark: Annotated[Any, AfterValidator(_mark), WithJsonSchema({"type": "string", "pattern": MARK_PATTERN})] | None = (
        Field(None, description="one that was noted: the chain has to have it, unless its entry was removed by its age")
    )


async def list_audit(call: Call[AuditQuery, None]) -> Response:
    query, services = call.query, call.services
    await services.audit.flush()
    found = await services.storage.audit.list(
        query.to_filter(), limit=query.limit + 1, before=query.cursor, after=query.after
    )
    entries = found[: query.limit]
    headers = {"Link": _next_link(call.request, query, entries[-1])} if len(found) > len(entries) else {}
    if _wants_lines(call.request):
        lines = b"".join(to_json(recorded_on_wire(each)) + b"\n" for each in entries)
        return Response(lines, headers=headers, media_type=JSON_LINES)
    return await list_document(map(recorded_on_wire, entries), headers)


async def verify_audit(call: Call[VerifyQuery, None]) -> Response:
    return Document(verified_on_wire(await call.services.audit.verify(call.query.mark)))


def _next_link(request: Request, query: AuditQuery, last: Recorded) -> str:
    """Return the Link header (RFC 8288) to the page behind `last`."""
    name = "cursor" if query.after is None else "after"
    others = [(key, value) for key, value in request.query_params.multi_items() if key != name]
    return f'<{request.scope["path"]}?{urlencode([*others, (name, last.number)])}>; rel="next"'


def _wants_lines(request: Request) -> bool:
    for kind, _ in accepted_types(request.headers.getlist("accept")):
        if kind in _LINE_TYPES or kind in _JSON_TYPES:
            return kind in _LINE_TYPES
    return False


ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/audit",
        handler=list_audit,
        query=AuditQuery,
        summary="List the audit",
        description=(
            "the [audit](audit.md), the newest entry first: a JSON array, or a line of JSON for each entry if `Accept` "
            "prefers `application/jsonl`. `actor`, `action`, `target` (a path, with what is below it), `project`, "
            "`outcome`, `since` and `before` narrow it; `limit` is 100 by default and 1000 at most, and `cursor` is as "
            "for jobs; `after=NUMBER` lists entries with higher numbers, the oldest first"
        ),
        answers={
            200: Answer(
                "The entries.",
                {"application/json": list[AuditEntryView], JSON_LINES: str},
                headers=("Link",),
            )
        },
        scope=Scope.AUDIT_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/audit/verify",
        handler=verify_audit,
        query=VerifyQuery,
        summary="Check the chain of the audit",
        description=(
            "[walks along the audit](audit.md#verify) and says in `broken` which entry is the first that does not fit; "
            "`last` is the mark of the last one that does. `mark` is one that the audit has to have"
        ),
        answers={200: json_answer(VerifiedView, "What was found.")},
        scope=Scope.AUDIT_READ,
        rate_class=RateClass.READ,
    ),
)
