"""Refusals of a request before an endpoint is reached: by its form, its sender, or the server's connections."""

from ci_common.errors import RequestError


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


class ScopeMissing(RequestError):
    """The sender of the request does not have the scope that the endpoint needs."""

    status = 403
    code = "scope_missing"
    title = "The request needs a permission that its sender does not have"


class TooManyConnections(RequestError):
    """The server has as many open connections as it accepts at once."""

    status = 503
    code = "too_many_connections"
    title = "Too many connections are open"
    retry_after = 5
