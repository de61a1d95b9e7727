"""The application as a server calls it, and what holds for every request.

Every request leaves one log line, none is carried out for a page of another site, no answer shows a stack trace, and
each ends when the server shuts down.
"""

import asyncio
import logging
import socket
import time
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ci_common.errors import RequestError, Unavailable
from ci_common.parsing.hosts import HostNames, canonical_host, host_of
from ci_common.settings import Settings
from ci_server.http.exchange import (
    Exchange,
    GracePeriod,
    Shutdown,
    detached_response,
    log_request,
    path_of,
    place_of,
)
from ci_server.http.forwarding import Forwarding
from ci_server.http.origins import is_cross_site
from ci_server.http.prefixes import apply_prefix
from ci_server.http.problems import internal_problem, problem_of, routing_problem, system_problem
from ci_server.http.protections import CrossOrigin
from ci_server.http.refusals import CrossSite, InvalidHttp, MisdirectedRequest

UNROUTED = "request"
"""What the audit has as the action of a request that is refused whatever it asks for."""
_CLIENT_GONE = 499
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # recognised, not bound
_REMEMBERED = 256
_SHOWN = 100

logger = logging.getLogger(__name__)


class HostCheck:
    """Accepts requests to loopback names, to the address that the server listens on, and to `names`.

    A web page can have its own name resolved to any address (DNS rebinding). A browser then takes that address for the
    page's own site, so the page's requests look as if this server's own pages had sent them. Only `Host` shows the name
    that the browser used.

    `bound` is that address, or the name it was configured by. If it stands for every address, all addresses of this
    machine count.
    """

    def __init__(self, names: HostNames, bound: str) -> None:
        self._names = names
        self._bound = canonical_host(bound)
        self._every_address = bound in _EVERY_ADDRESS
        self._host_of = lru_cache(_REMEMBERED)(host_of)
        self._is_known = lru_cache(_REMEMBERED)(self._is_listed)

    @classmethod
    def of(cls, settings: Settings) -> "HostCheck":
        """Return the check that the settings ask for."""
        return cls(settings.allowed_hosts, settings.host)

    def refusal(self, scope: Scope) -> RequestError | None:
        """Return the error if the request's host is missing, malformed or not this server's, else None."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) > 1:
            return InvalidHttp("the request has more than one Host header; send one")
        if not given:
            if scope["http_version"] in ("0.9", "1.0"):
                return None  # No browser speaks these versions.
            return InvalidHttp("the request has no Host header; HTTP/1.1 wants one, as in Host: localhost:8000")
        authority = str(given[0], "latin-1")
        host = self._host_of(authority)
        if host is None:
            return InvalidHttp(f"the Host header is {authority[:_SHOWN]!r}, which is neither HOST nor HOST:PORT")
        if self._is_known(host) or self._is_here(host, scope.get("server")):
            return None
        listed = f"which is {self._names}" if self._names.text else "which is not set"
        return MisdirectedRequest(
            f"this server does not answer for the host {host[:_SHOWN]!r}; if it should, add the name to the server's "
            f"setting CI_ALLOWED_HOSTS, {listed}"
        )

    def _is_listed(self, host: str) -> bool:
        return host == self._bound or is_loopback(host) or host in self._names

    def _is_here(self, host: str, server: tuple[str, int | None] | None) -> bool:
        """Return whether the host is the address that the request came to, or another address of this machine."""
        if server is None or server[1] is None:
            return True  # A Unix socket, which has no name.
        return host == canonical_host(server[0]) or (self._every_address and _is_own_address(host))


class Application(Starlette):
    """An application whose routes may detach responses, with one layer of its own between the server and them."""

    def __init__(self, *, settings: Settings, **starlette: Any) -> None:
        super().__init__(**starlette)
        self._hosts = HostCheck.of(settings)
        self._origins = CrossOrigin(settings.cors_origins)
        self._forwarding = Forwarding(settings.trusted_proxies)
        self._prefix = settings.root_path

    def build_middleware_stack(self) -> ASGIApp:
        """Return `EveryRequest` alone, which does all that Starlette's own layers would do."""
        return EveryRequest(self.router, self._hosts, self._origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.monotonic()
        self._forwarding.apply(scope)
        apply_prefix(scope, self._prefix)
        inner = dict(scope)  # What the layers add to it goes with them.
        response = None
        try:
            await super().__call__(inner, receive, send)
            response = detached_response(inner)
        finally:
            place = place_of(inner)
            if place is not None and response is None:
                place.leave()
        if response is None:
            return
        job_id, status = response.job_id, response.status_code
        try:
            stream = await response.begin(send)
        except BaseException as exc:
            if place is not None:
                place.leave()
            if isinstance(exc, Exception):
                log_request(scope, status, time.monotonic() - begun, job_id)
            raise  # The head has been sent, so that only the connection's end can show the failure.
        del inner, response, send  # Thousands may wait here.
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not stream.abandoned:
                raise
        finally:
            stream.leave()
            if place is not None:
                place.leave()
        log_request(scope, status, time.monotonic() - begun, job_id)


class EveryRequest:
    """The one layer between the server and the router. No exception leaves it but cancellation."""

    def __init__(self, app: ASGIApp, hosts: HostCheck, origins: CrossOrigin) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        exchange = Exchange(scope, receive, send, scope["app"].state.shutdown)
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
            if detached_response(scope) is None:
                log_request(scope, exchange.status or _CLIENT_GONE, time.monotonic() - begun)

    async def _answer(self, scope: Scope, exchange: Exchange) -> Response | None:
        """Run the application. Return an answer to send if it failed before its own answer began."""
        shutdown: Shutdown = scope["app"].state.shutdown
        grace = GracePeriod(shutdown)
        try:
            with grace:
                is_named = self._origins.note(scope)
                self._check_origin(scope, is_named)
                if is_named and (answer := self._origins.preflight(scope)) is not None:
                    return answer
                await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return None
        except asyncio.CancelledError:
            if grace.is_over and grace.task is not None:
                grace.task.uncancel()
            elif not shutdown.started or exchange.status != 0:
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

    def _check_origin(self, scope: Scope, is_named: bool) -> None:
        """Raise RequestError for a request to a host that is not this server's, or from a page of another site.

        `is_named` is for pages of an origin that the settings name.
        """
        refused = self._hosts.refusal(scope)
        if refused is None and not is_named and is_cross_site(scope):
            refused = CrossSite("a page of another web site sent this request; it was not carried out")
        if refused is not None:
            scope["app"].state.services.audit.refuse(Request(scope), None, UNROUTED, refused)
            raise refused


def _internal(scope: Scope, error: Exception) -> Response:
    error_id = uuid4().hex
    logger.error("error %s at %s %s", error_id, scope["method"], path_of(scope), exc_info=error)
    return internal_problem(error_id)


def _shutting_down() -> Response:
    return problem_of(Unavailable("the server is shutting down; send the request again in a moment"))


def _refusal(scope: Scope, error: Exception) -> Response | None:
    """Return the answer to a mistake in the request, or to one that the server will not carry out."""
    match error:
        case InvalidHttp():
            answer = problem_of(error)
            answer.headers["Connection"] = "close"  # The client may disagree about where its request ends.
            return answer
        case RequestError():
            return problem_of(error)
        case HTTPException():
            return routing_problem(scope["method"], scope["path"], error)
    return None


def is_loopback(host: str) -> bool:
    """Return whether a host, in the form that `canonical_host` returns, can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_own_address(host: str) -> bool:
    """Return whether a host is an address of this machine's interfaces, which may change at any time."""
    try:
        version = ip_address(host).version
    except ValueError:
        return False
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
