"""What an endpoint is, and the boundary that every request passes on its way to a handler.

An `Endpoint` declares method, path, query, body, answers, scope and rate class. `routes_of` makes the application's
routes from them: for each request it checks the method and the scope, reads and validates query and body, and calls the
handler with them. The OpenAPI document and the list of routes in docs/http.md are written from the same declarations.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as ConnectionScope

from ci_common.access.identity import ANYONE, LOCAL, Identity, Scope
from ci_common.errors import FilesElsewhere, RequestError
from ci_common.parsing.models import validated
from ci_common.settings import Settings
from ci_common.times import Milestone, with_milestone
from ci_server.access.authentication import token_of
from ci_server.access.stream_tickets import PARAMETER
from ci_server.http.refusals import ScopeMissing
from ci_server.http.requests import NoQuery, parse_json_object, read_json_body, read_query, repeatable, run_apart
from ci_server.services import Services

QueryT = TypeVar("QueryT", bound=BaseModel)
BodyT = TypeVar("BodyT")
ParsedT = TypeVar("ParsedT", covariant=True)
Identify = Callable[[Request], Awaitable[Identity]]
READING: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""
KEY_HEADER: Final = "Idempotency-Key"
"""The header with which a client says which of its requests are the same submission."""


class RestConvertor(PathConvertor):
    """The rest of a path, which may have any characters: Starlette's own does not take line feeds."""

    regex = r"[\s\S]*"


register_url_convertor("rest", RestConvertor())


class RateClass(StrEnum):
    """Which requests are counted together (`ci_server.access.rates`)."""

    PROBE = "probe"
    READ = "read"
    STREAM = "stream"
    WRITE = "write"
    SUBMIT = "submit"


class Reach(StrEnum):
    """What of the installation an endpoint shows or changes, for a sender whose scopes hold for some projects only."""

    INSTALLATION = "installation"
    """All of it: the scope has to hold for all projects."""
    ONE = "one"
    """One thing. What belongs to another project, or to none, is not found."""
    VISIBLE = "visible"
    """What belongs to the sender's projects."""
    NEW = "new"
    """Something new, in a project of the sender's; for another one it is refused."""
    OWN = "own"
    """What this sender has begun, whatever its projects."""


class Files(StrEnum):
    """Which requests need the data directory. With CI_FILES, it is on another host."""

    NEVER = "never"
    SOMETIMES = "sometimes"
    """The handler calls `Services.require_files`."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Call(Generic[QueryT, BodyT]):
    """A request that has passed the boundary."""

    request: Request
    services: Services
    identity: Identity
    query: QueryT
    body: BodyT
    body_bytes: int
    """The size of a JSON body; 0 for other bodies."""
    accepted: Mapping[str, int]
    """The milestone of a submission that lies before its body."""
    body_sha256: str = ""
    """The digest of a JSON body, of a submission with a key; else empty."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One status with which an endpoint answers."""

    description: str
    content: Mapping[str, Any] = field(default_factory=dict)
    """The type of the body by media type: a pydantic model or another type that pydantic has a schema for."""
    headers: Sequence[str] = ()
    """The names of headers that the answer has, or may have; `ci_server.openapi` describes each."""
    links: bool = False
    """Whether the body has a `job_id` with which the other endpoints of the job can be called."""


def json_answer(model: Any, description: str, **more: Any) -> Answer:
    """Return the declaration of an answer in JSON."""
    return Answer(description, {"application/json": model}, **more)


class Parse(Protocol[ParsedT]):
    """Turns a JSON body into what the handler is given. May run in a thread. Raises InvalidRequest."""

    def __call__(self, raw: bytes, settings: Settings, accepted: Mapping[str, int], /) -> ParsedT: ...


@dataclass(frozen=True, slots=True)
class JsonBody(Generic[BodyT]):
    """A body that is a JSON object, whatever its `Content-Type`."""

    type: Callable[[], Any]
    """Returns the type that describes the body in the OpenAPI document."""
    parse: Parse[BodyT]
    examples: Mapping[str, Any] = field(default_factory=dict)
    required: bool = True
    """Without it, a body that is empty counts as `{}`."""

    async def read(self, request: Request, services: Services, accepted: Mapping[str, int]) -> tuple[BodyT, bytes]:
        """Return the parsed body, and as it came. Raises InvalidRequest, TooLarge, RequestStalled, ClientDisconnect."""
        raw = await read_json_body(request)
        if not raw and not self.required:
            raw = b"{}"
        return await run_apart(len(raw), self.parse, raw, services.settings, accepted), raw


@dataclass(frozen=True, slots=True)
class UploadBody:
    """A multipart form with an archive. Its handler receives it, since it goes to the disk as it arrives."""

    type: Any
    """The type that describes the form in the OpenAPI document."""


@dataclass(frozen=True, slots=True)
class BytesBody:
    """A body of bytes. Its handler receives it, since it goes to the disk as it arrives."""

    media_type: str
    description: str
    required: bool = True


def model_body(model: type[QueryT], **more: Any) -> JsonBody[QueryT]:
    """Return the declaration of a JSON body that is one model."""

    def parse(raw: bytes, _settings: Settings, _accepted: Mapping[str, int], /) -> QueryT:
        return validated(model, parse_json_object(raw, source="the body"), source="the body")

    return JsonBody(lambda: model, parse, **more)


@dataclass(frozen=True, kw_only=True)
class Endpoint(Generic[QueryT, BodyT]):
    """One method at one path."""

    method: str
    path: str
    handler: Callable[[Call[QueryT, BodyT]], Awaitable[Response]]
    summary: str
    """A few words, as a title."""
    description: str
    """What it does and answers, in Markdown. Becomes the endpoint's row in docs/http.md."""
    query: type[QueryT] | None = None
    body: JsonBody[BodyT] | UploadBody | BytesBody | None = None
    headers: Sequence[str] = ()
    """The names of request headers that matter; `ci_server.openapi` describes each."""
    answers: Mapping[int, Answer]
    errors: Sequence[type[RequestError]] = ()
    """The errors that this endpoint has besides those that all endpoints have."""
    scope: Scope | None
    """The scope that a request needs; None if everyone may call the endpoint."""
    rate_class: RateClass
    files: Files = Files.NEVER
    changes: bool = False
    """Whether it changes something although its method is GET, since browsers open it as a page."""
    unaudited: str = ""
    """Why a request that may change something leaves no entry in the audit; empty for one that does."""
    takes_ticket: bool = False
    """Whether a ticket in the query stands for a key."""
    limits: Reach | None = None
    """By default ONE below a job's path, and INSTALLATION elsewhere."""

    @property
    def reach(self) -> Reach:
        """What of the installation it shows or changes."""
        if self.limits is not None:
            return self.limits
        return Reach.ONE if "{job_id}" in self.path else Reach.INSTALLATION

    @property
    def is_audited(self) -> bool:
        """Whether each request that is carried out is in the audit. What is refused is, with every method."""
        return (self.changes or self.method not in READING) and not self.unaudited

    @property
    def name(self) -> str:
        """The name of the endpoint in the OpenAPI document, and of its action in the audit."""
        return self.handler.__name__

    @property
    def shown_path(self) -> str:
        """The path as people and OpenAPI write it: without saying which parameter takes slashes."""
        return self.path.replace(":rest}", "}")

    @cached_property
    def _lists(self) -> frozenset[str]:
        return repeatable(self.query or NoQuery)

    async def answer(self, request: Request, identify: Identify) -> Response:
        """Authorise, read and validate the request, and return the handler's answer. Raises RequestError, OSError."""
        services: Services = request.app.state.services
        sender: Identity | None = None
        try:
            sender = ANYONE if self.scope is None else await self._identify(request, identify)
            left = services.rates.count(request, sender, self.rate_class)
            if (token := token_of(request, sender)) is not None:
                await services.audit.note_token(request, token, sender)
            response = await self._carried_out(request, services, self._authorised(sender))
            # No handler sets these, so nothing is to be replaced.
            response.raw_headers += [(name.lower().encode(), value.encode()) for name, value in left.items()]
            return response
        except FilesElsewhere:
            home = services.settings.files
            if "://" not in home:
                raise
            return _redirect(request, home)
        except RequestError as exc:
            services.audit.refuse(request, sender, self.name, exc)
            raise

    async def _carried_out(self, request: Request, services: Services, sender: Identity) -> Response:
        """Return the handler's answer, once the audit has what the request has changed."""
        if not self.is_audited:
            return await self._answer(request, services, sender)
        note = services.audit.note(request, sender, self.name)
        response = await self._answer(request, services.audited(note), sender)
        # Without a scope, anyone could have the audit grow by requests that change nothing.
        if response.status_code < 400 and self.scope is not None:
            await services.audit.finish(note)
        return response

    async def _identify(self, request: Request, identify: Identify) -> Identity:
        """Return who sends the request: by a ticket only where that is taken, and where there is no key."""
        ticket = request.query_params.get(PARAMETER) if self.takes_ticket else None
        if ticket is None or "authorization" in request.headers or identify is not identify_sender:
            return await identify(request)
        services: Services = request.app.state.services
        return await services.authentication.identify_ticket(request, ticket)

    def _authorised(self, sender: Identity) -> Identity:
        """Return the sender with the projects in which it may call the endpoint. Raises ScopeMissing if it may not."""
        if self.scope is None:
            return sender
        needed = f"{self.method} {self.shown_path} needs the scope {self.scope}"
        identity = sender.within(self.scope)
        if identity is None:
            more = "; the first key is made where the server runs, with: ci keys create --admin"
            raise ScopeMissing(f"{needed}, which {sender.name} lacks{more if sender is LOCAL else ''}")
        if self.reach is Reach.INSTALLATION and identity.projects is not None:
            raise ScopeMissing(f"{needed} for all projects, and {sender.name} has it for some only")
        return identity

    async def _answer(self, request: Request, services: Services, identity: Identity) -> Response:
        if self.files is Files.ALWAYS:
            services.require_files()
        query: Any = read_query(request, self.query or NoQuery, lists=self._lists)
        body: Any = None
        raw = b""
        accepted: Mapping[str, int] = {}
        if self.body is not None:
            accepted = with_milestone({}, Milestone.ACCEPTED)
            if isinstance(self.body, JsonBody):
                body, raw = await self.body.read(request, services, accepted)
        digest = sha256(raw).hexdigest() if KEY_HEADER in request.headers else ""
        return await self.handler(Call(request, services, identity, query, body, len(raw), accepted, digest))


def _redirect(request: Request, home: str) -> Response:
    """Return a redirect to the same path and query of the server at `home`. Method and body stay as they are."""
    path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
    return Response(status_code=307, headers={"Location": f"{home}{path}{'?' if query else ''}{query}"})


AnyEndpoint = Endpoint[Any, Any]


async def everyone_is_local(_request: Request) -> Identity:
    """Return the identity of a request's sender, for a server that only the process that runs it can reach."""
    return LOCAL


async def identify_sender(request: Request) -> Identity:
    """Return the identity of a request's sender. Raises KeyMissing, KeyInvalid, Unavailable."""
    identity: Identity = await request.app.state.services.authentication.identify(request)
    return identity


def routes_of(endpoints: Iterable[AnyEndpoint], identify: Identify = identify_sender) -> list[Route]:
    """Return one route for each path, in the order of the endpoints. Raises ValueError for a method declared twice.

    Of the paths that begin alike, those with parameters come last, so that a fixed path wins.
    """
    by_path: defaultdict[str, dict[str, AnyEndpoint]] = defaultdict(dict)
    for endpoint in endpoints:
        methods = by_path[endpoint.path]
        if endpoint.method in methods:
            raise ValueError(f"{endpoint.method} {endpoint.path} is declared twice")
        methods[endpoint.method] = endpoint
    beginnings = [path.split("/")[1] for path in by_path]

    def rank(path: str) -> tuple[bool, int, bool]:
        beginning = path.split("/")[1]
        return "{" in beginning, beginnings.index(beginning), "{" in path

    ordered = sorted(by_path.items(), key=lambda item: rank(item[0]))
    return [Route(path, PathRoute(methods, identify)) for path, methods in ordered]


class PathRoute:
    """The endpoints of one path as an ASGI application. `HEAD` is answered as `GET`, without a body."""

    def __init__(self, methods: Mapping[str, AnyEndpoint], identify: Identify) -> None:
        self.endpoints = dict(methods)
        self._identify = identify
        if "GET" in self.endpoints:
            self.endpoints["HEAD"] = self.endpoints["GET"]
        self._allow: Final = ", ".join(sorted(self.endpoints))

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints.get(scope["method"])
        if endpoint is None:
            raise HTTPException(405, headers={"Allow": self._allow})
        response = await endpoint.answer(Request(scope, receive, send), self._identify)
        await response(scope, receive, send)
