"""One request and its answer: its log line, the close that lets a refusal arrive, detached responses, the shutdown."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from ci_common.access.keys import without_keys
from ci_common.secrets.tokens import path_without_tokens, without_tokens
from ci_common.system.reporting import log_line
from ci_server.http.protections import protect

GRACE_SECONDS = 1.0
"""How long a request may go on after the server's shutdown has started."""
_LINGER_SECONDS = 30.0
_REQUEST_TIMEOUT = 408
_JOB_ID = "ci_server.job_id"
_DETACHED = "ci_server.detached_response"
_PLACE = "ci_server.place"

logger = logging.getLogger("ci_server.requests")


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the request's first header of that name, which is in lower case, or None."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def path_of(scope: Scope) -> str:
    """Return the path as it came, without keys and tokens; still encoded, so that it cannot break out of its line."""
    raw = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    return path_without_tokens(raw.decode("ascii", "backslashreplace"))


def note_job(scope: Scope, job_id: str) -> None:
    """Make the request's log line name a job that its path does not name."""
    scope[_JOB_ID] = job_id


def log_request(scope: Scope, status: int, seconds: float, job_id: str | None = None) -> None:
    """Write the request's log line."""
    if not logger.isEnabledFor(logging.INFO):
        return
    job_id = job_id or scope.get(_JOB_ID) or scope.get("path_params", {}).get("job_id", "-")
    job = without_tokens(without_keys(ascii(job_id)[1:-1]))
    client = scope.get("client")
    address = client[0] if client else "-"
    shown = f"{scope['method']} {path_of(scope)} {status} {seconds * 1000:.1f} ms job={job} from={address}"
    log_line(logger, shown)


class GracePeriod:
    """As a context, the time that a task has after the shutdown has started: GRACE_SECONDS, then it is cancelled."""

    __slots__ = ("_shutdown", "is_over", "task")

    def __init__(self, shutdown: "Shutdown") -> None:
        self._shutdown = shutdown
        self.task = asyncio.current_task()
        self.is_over = False
        """Whether the task has been cancelled because its time was over."""

    def __enter__(self) -> "GracePeriod":
        self._shutdown.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._shutdown.exit(self)


class Shutdown:
    """Starts once, when the server has been told to stop. For one event loop."""

    def __init__(self) -> None:
        self.started = False
        self._callbacks: set[Callable[[], None]] = set()
        self._periods: set[GracePeriod] = set()

    def start(self) -> None:
        """Refuse new work from now on, and run the callbacks."""
        if not self.started:
            self.started = True
            for callback in tuple(self._callbacks):
                callback()
            for period in self._periods:
                self._count_down(period)

    def enter(self, period: GracePeriod) -> None:
        """Add a task's grace period. It counts from now if the shutdown has already started."""
        self._periods.add(period)
        if self.started:
            self._count_down(period)

    def exit(self, period: GracePeriod) -> None:
        """Remove the grace period of a task that needs no more time."""
        self._periods.discard(period)

    def _count_down(self, period: GracePeriod) -> None:
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._end, period)

    def _end(self, period: GracePeriod) -> None:
        if period in self._periods and period.task is not None:
            period.is_over = True
            period.task.cancel()

    @contextmanager
    def on_shutdown(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the context is open, call `callback` when the shutdown starts, or at once if it has started."""
        self._callbacks.add(callback)
        try:
            if self.started:
                callback()
            yield
        finally:
            self._callbacks.discard(callback)


class Exchange:
    """`receive` and `send` for the application, in place of the server's own.

    A client that is still sending its body when the connection is closed finds it broken, and may never read the
    answer. So a refusal is sent at once, then the rest of the body is discarded for a while, and then the connection is
    closed.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, shutdown: Shutdown) -> None:
        length = header_of(scope, b"content-length")
        self._body_is_coming = length not in (None, "0") or header_of(scope, b"transfer-encoding") is not None
        self._scope = scope
        self._receive = receive
        self._send = send
        self._shutdown = shutdown
        self._lingers = False
        self.status = 0
        """The answer's status; 0 until it begins."""

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_is_coming = bool(message.get("more_body", False))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            protect(message["headers"], self._scope)
            if self._body_is_coming and self.status >= 400:
                MutableHeaders(raw=message["headers"])["Connection"] = "close"
                self._lingers = self.status != _REQUEST_TIMEOUT  # The server has waited long enough for that client.
        elif self._lingers and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard_body()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _discard_body(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = asyncio.timeout(_LINGER_SECONDS)
        try:
            async with deadline:
                with self._shutdown.on_shutdown(lambda: deadline.reschedule(loop.time())):
                    while self._body_is_coming:
                        await self.receive()
        except TimeoutError:
            pass  # The client has had its time.


class OpenStream(Protocol):
    """A detached response that is being sent."""

    @property
    def abandoned(self) -> bool:
        """Whether the sender has cancelled the request, to end the response."""

    def leave(self) -> None:
        """Stop sending. Must be called once, at the end."""


class Place(Protocol):
    """What a request takes from a quota for as long as its answer is sent."""

    def leave(self) -> None:
        """Give it back. Does nothing the second time."""


def has_place(scope: Scope) -> bool:
    """Return whether the request has taken its place."""
    return _PLACE in scope


def keep_place(scope: Scope, place: Place) -> None:
    """Have the application give the place back at the end of the request, or of the response that it detaches."""
    scope[_PLACE] = place


def place_of(scope: Scope) -> Place | None:
    """Return what is to be given back at the end."""
    place: Place | None = scope.get(_PLACE)
    return place


class DetachedResponse(Protocol):
    """A long response that is sent after the request has left the router.

    A waiting request holds the frames of all functions it is in. There are a dozen between the server and a handler,
    and none has anything more to do once a stream has begun, so a detached response costs only its own frames.
    """

    job_id: str
    status_code: int

    async def begin(self, send: Send) -> OpenStream:
        """Begin to send the response with `send`. Others go on sending until `leave` is called."""


def detach(scope: Scope, response: DetachedResponse) -> None:
    """Have the application send `response` in place of a response that the route sends itself."""
    scope[_DETACHED] = response


def detached_response(scope: Scope) -> DetachedResponse | None:
    """Return the response that the route has detached, or None."""
    response: DetachedResponse | None = scope.get(_DETACHED)
    return response
