"""`GET /events`: the changes of jobs as a stream, for lists that stay open."""

from typing import Final

from pydantic import Field
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as ConnectionScope

from ci_common.access.identity import Scope
from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.values import Line
from ci_common.quotas import QuotaExceeded
from ci_common.wire.live.feed import FeedEvent
from ci_common.wire.stream import refused_event
from ci_persistence.stores.outbox import Place
from ci_server.access.projects import only_project
from ci_server.endpoints import Answer, Call, Endpoint, RateClass, Reach
from ci_server.http.exchange import OpenStream, detach
from ci_server.http.protections import protect
from ci_server.http.requests import QueryModel
from ci_server.jobs.list_endpoints import Label
from ci_server.streaming.feed_events import Wanted
from ci_server.streaming.framing import Reader, frame
from ci_server.streaming.job_feed import FeedReader, JobFeed
from ci_server.streaming.streams import HEADERS, WhileAccepted

_LAST_EVENT_ID: Final = "last-event-id"


class EventsQuery(QueryModel):
    """What `GET /events` may be asked: the filters of `GET /jobs` that hold for a job from its beginning to its end."""

    type: Line | None = None
    project: Line | None = None
    label: list[Label] = Field(default_factory=list, description="`key:value`; all of them")


class EventStream(Response):
    """The changes behind a place, or from now on."""

    media_type = "text/event-stream"
    job_id = ""

    def __init__(self, feed: JobFeed, wanted: Wanted, place: Place | None, while_accepted: WhileAccepted) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["Content-Length"]
        self._feed = feed
        self._wanted = wanted
        self._place = place
        self._while_accepted = while_accepted

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
        else:
            protect(self.raw_headers, scope)
            detach(scope, self)

    async def begin(self, send: Send) -> OpenStream:
        """Begin to stream; the stream ends with the server, the key of the request, or after ten minutes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        joined = self._feed.join(Reader(send), self._wanted, self._place)
        return _Joined(self._feed, joined, self._while_accepted)


class _Joined:
    """One reader of the changes: all that a waiting connection holds."""

    __slots__ = ("_feed", "_joined", "_stop")

    def __init__(self, feed: JobFeed, joined: FeedReader, while_accepted: WhileAccepted) -> None:
        self._feed = feed
        self._joined = joined
        self._stop = while_accepted(lambda why: feed.expel(joined, frame(refused_event(why))))

    @property
    def abandoned(self) -> bool:
        return self._joined.reader.abandoned

    def leave(self) -> None:
        self._stop()
        self._feed.leave(self._joined)


async def follow_events(call: Call[EventsQuery, None]) -> Response:
    query, services = call.query, call.services
    labels = frozenset((label.partition(":")[0], label.partition(":")[2]) for label in query.label)
    wanted = Wanted(call.identity.projects, query.project, query.type, labels)
    await services.take_stream(call.request, query.project or only_project(call.identity), call.identity)
    while_accepted = services.authentication.while_accepted(call.request, call.identity)
    return EventStream(services.feed, wanted, _place_of(call), while_accepted)


def _place_of(call: Call[EventsQuery, None]) -> Place | None:
    seen = call.request.headers.get(_LAST_EVENT_ID, "").strip()
    if not seen:
        return None
    try:
        return Place.parse(seen)
    except ValueError as exc:
        message = f"{exc}; send the last one back as it came"
        raise InvalidRequest(
            f"the header Last-Event-ID is not valid: {message}", FieldError(_LAST_EVENT_ID, message)
        ) from exc


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/events",
        handler=follow_events,
        query=EventsQuery,
        headers=("Last-Event-ID",),
        summary="Follow the changes of jobs",
        description=(
            "a [stream of changes](#the-stream-of-changes) of all jobs that the sender may see, in their short form, "
            "for lists that stay open; `project`, `type` and `label` as for `GET /jobs`. `Last-Event-ID` goes on "
            "behind a change"
        ),
        answers={200: Answer("The changes.", {"text/event-stream": FeedEvent})},
        errors=(QuotaExceeded,),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.STREAM,
        limits=Reach.VISIBLE,
    ),
)
