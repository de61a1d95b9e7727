"""What holds for every request: one log line, no foreign pages, no stack traces, and an end when the server leaves."""

import asyncio
import logging
import time
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ci_common.errors import CrossSite, InvalidHttp, RequestError, Unavailable
from ci_server.http.allowed_hosts import HostCheck
from ci_server.http.detached_response import handed_over
from ci_server.http.lingering_close import Exchange, header_of
from ci_server.http.problems import internal_problem, problem_of, routing_problem, system_problem
from ci_server.http.request_log import log_request, path_of
from ci_server.http.shutdown import Grace, Leaving

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CLIENT_GONE = 499

logger = logging.getLogger(__name__)


class Boundary:
    """The one layer between the server and the routes; nothing but cancellation leaves it as an exception."""

    def __init__(self, app: ASGIApp, hosts: HostCheck) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        exchange = Exchange(scope, receive, send, scope["app"].state.leaving)
        try:
            answer = await self._answer(scope, exchange)
            if answer is not None and exchange.status == 0:
                await answer(scope, exchange.receive, exchange.send)
        except Exception as exc:
            # Of what answers errors.
            if exchange.status != 0:
                raise
            await _internal(scope, exc)(scope, exchange.receive, exchange.send)
        finally:
            if handed_over(scope) is None:
                log_request(scope, exchange.status or _CLIENT_GONE, time.monotonic() - begun)

    async def _answer(self, scope: Scope, exchange: Exchange) -> Response | None:
        """Run the application; return the answer to give in its place where it failed before its own began."""
        leaving: Leaving = scope["app"].state.leaving
        grace = Grace(leaving)
        try:
            with grace:
                self._examine(scope)
                await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return None
        except asyncio.CancelledError:
            if grace.is_over and grace.task is not None:
                grace.task.uncancel()
            elif not leaving.begun or exchange.status != 0:
                raise
            return _shutting_down()  # The server waits no longer, which must not look like a fault of the request.
        except Exception as exc:
            if exchange.status == 0 and (refusal := _refusal(scope, exc)) is not None:
                return refusal
            if grace.is_over:
                return _shutting_down()
            if isinstance(exc, OSError) and (answer := system_problem(exc)) is not None:
                logger.warning("a request cannot be taken: %s", exc)
                return answer
            return _internal(scope, exc)
        return None

    def _examine(self, scope: Scope) -> None:
        """Raise what is wrong with where a request comes from, and with whom it is for."""
        refused = self._hosts.refusal(scope)
        if refused is not None:
            raise refused
        if _is_foreign(scope):
            raise CrossSite("a page of another web site sent this request; it was not carried out")


def _internal(scope: Scope, error: Exception) -> Response:
    error_id = uuid4().hex
    logger.error("error %s at %s %s", error_id, scope["method"], path_of(scope), exc_info=error)
    return internal_problem(error_id)


def _shutting_down() -> Response:
    return problem_of(Unavailable("the server is shutting down; send the request again in a moment"))


def _refusal(scope: Scope, error: Exception) -> Response | None:
    """Return the answer where the error tells of a mistake in the request, or of what the server will not do."""
    match error:
        case InvalidHttp():
            answer = problem_of(error)
            answer.headers["Connection"] = "close"  # Where its requests end may not be what it believes.
            return answer
        case RequestError():
            return problem_of(error)
        case HTTPException():
            return routing_problem(Request(scope), error)
    return None


def _is_foreign(scope: Scope) -> bool:
    """Tell whether a browser says that a page of another site wants something changed here.

    The request's host is one that the server answers for, so it tells what this site is.
    """
    if scope["method"] in _SAFE_METHODS:
        return False
    fetch_site = header_of(scope, b"sec-fetch-site")
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    origin = header_of(scope, b"origin")
    return origin is not None and _host_in(origin) != header_of(scope, b"host")


def _host_in(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
