"""Refusals of a request before an endpoint is reached: by its form, its sender, or the server's connections."""

from collections.abc import Mapping
from typing import ClassVar, TypeVar

from ci_common.errors import RequestError

ErrorT = TypeVar("ErrorT", bound=RequestError)


def hidden(error: ErrorT, *, is_there: bool = True) -> ErrorT:
    """Return the error, for what its sender may not see; with `is_there`, the audit has it as a refusal."""
    error.is_hidden = is_there
    return error


class InvalidHttp(RequestError):
    """The request is not valid HTTP, or does not have exactly one usable Host."""

    code = "invalid_http"
    title = "The request is not valid HTTP"


class UrlTooLong(RequestError):
    """The URL is longer than the server accepts."""

    status = 414
    code = "url_too_long"
    title = "The URL is too long"


class HeadersTooLarge(RequestError):
    """The headers are more, or longer, than the server accepts."""

    status = 431
    code = "headers_too_large"
    title = "The headers are too large"


class MisdirectedRequest(RequestError):
    """The request is for a host that this server does not serve, as a browser sends it after DNS rebinding."""

    status = 421
    code = "misdirected_request"
    title = "The request is for another host"


class RequestStalled(RequestError):
    """The client sends its request too slowly."""

    status = 408
    code = "request_timeout"
    title = "The request did not arrive in time"


class CrossSite(RequestError):
    """A browser sent the request for a page of another web site, which must not change anything here."""

    status = 403
    code = "cross_site"
    title = "Requests from other web sites are refused"


class KeyMissing(RequestError):
    """The request has no key, and the server has keys or is reached from elsewhere."""

    status = 401
    code = "key_missing"
    title = "The request needs a key"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="ci-server"'}


class KeyInvalid(RequestError):
    """The key in the request is unknown, revoked or expired, or is not sent as it has to be."""

    status = 401
    code = "key_invalid"
    title = "The key is not valid"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="ci-server", error="invalid_token"'}


class SessionEnded(RequestError):
    """The session of the browser is unknown, has expired, or was ended."""

    status = 401
    code = "session_ended"
    title = "The browser is not signed in any more"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="ci-server"'}


class ProjectRefused(RequestError):
    """The key does not hold for the project that the request names, or the request names none."""

    status = 403
    code = "project_refused"
    title = "The key does not hold for this project"


class ImageRefused(RequestError):
    """The server, or the project of the job, does not allow one of the images that the job needs."""

    status = 403
    code = "image_refused"
    title = "This image is not allowed"


class ScopeMissing(RequestError):
    """The sender of the request does not have the scope that the endpoint needs, or not for all projects."""

    status = 403
    code = "scope_missing"
    title = "The request needs a permission that its sender does not have"


class PageFileNotFound(RequestError):
    """The page for browsers has no such file."""

    status = 404
    code = "page_file_not_found"
    title = "No such file of the page"


class RateLimited(RequestError):
    """More requests came from this sender, for this project, or with wrong keys from this address, than may come."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"
    retry_after = 1


class TooManyConnections(RequestError):
    """The server has as many open connections as it accepts at once."""

    status = 503
    code = "too_many_connections"
    title = "Too many connections are open"
    retry_after = 5
