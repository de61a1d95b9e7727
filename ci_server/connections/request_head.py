"""The head of a request: its limits, what is rewritten before the application sees it, and how it is refused.

docs/operations.md describes the limits to operators.
"""

from collections.abc import Iterable
from http import HTTPStatus

import httptools

from ci_common.errors import RequestError
from ci_server.http.problems import problem_of
from ci_server.http.protections import protect
from ci_server.http.refusals import HeadersTooLarge, InvalidHttp, RequestStalled, TooManyConnections, UrlTooLong

HEAD_BYTES = 32 * 1024
"""The request line and all headers together."""

URL_BYTES = 16 * 1024

HEADER_BYTES = 16 * 1024
"""One header, name and value."""

HEADERS = 100

HEAD_SECONDS = 20
"""From the connection's beginning, or the first byte of a further request, to the end of its headers."""

IDLE_SECONDS = 75
"""How long a connection may wait for another request: longer than the usual minute of proxies, which then close it."""

MOST_CONNECTIONS = 10_000
"""The default of CI_MAX_CONNECTIONS."""

PIECE_BYTES = 16 * 1024
"""How much of a chunked body is parsed at once, at most."""

PIECE_EFFORT = 64
"""What parsing a piece costs in addition to its length, in bytes."""

TURN_EFFORT = 32 * 1024
"""After how much of a chunked body, counted that way, other tasks get their turn: its chunks may have one byte each."""

Headers = list[tuple[bytes, bytes]]

_OF_AN_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


def in_origin_form(url: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return target and headers with the path alone as the target, where a client sent a whole URL.

    The URL's host replaces the header `Host` (RFC 9112, 3.2.2). Raises HttpParserInvalidURLError.
    """
    parsed = httptools.parse_url(url)
    if parsed.host is None:
        return url, headers
    host = b"[" + parsed.host + b"]" if b":" in parsed.host else parsed.host
    if parsed.port is not None:
        host += b":%d" % parsed.port
    target = parsed.path or b"/"
    if parsed.query is not None:
        target += b"?" + parsed.query
    return target, [(name, host if name == b"host" else value) for name, value in headers]


def without_upgrade(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request without its wish for another protocol."""
    lines = [b" ".join((method, url, b"HTTP/" + version.encode()))]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(token for token in _tokens(value) if token.lower() not in _OF_AN_UPGRADE)
        if name not in _OF_AN_UPGRADE:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.split(b",")]


def check_url(url: bytes) -> None:
    """Raise UrlTooLong where the URL is longer than URL_BYTES."""
    if len(url) > URL_BYTES:
        raise UrlTooLong(f"the URL has more than the {URL_BYTES} bytes that are taken")


def check_size(size: int) -> None:
    """Raise HeadersTooLarge where a head that has not ended yet has reached its limit of `size`."""
    if size >= HEAD_BYTES:
        raise HeadersTooLarge(f"request line and headers have more than the {HEAD_BYTES} bytes that are taken")


def check_headers(headers: Headers, size: int) -> None:
    """Raise HeadersTooLarge where there are too many headers or one is too long; `size` is that of the head."""
    if len(headers) > HEADERS:
        raise HeadersTooLarge(f"the request has more than the {HEADERS} headers that are taken")
    if size <= HEADER_BYTES:
        return
    for name, value in headers:
        if len(name) + len(value) > HEADER_BYTES:
            shown = name[:100].decode("latin-1")
            raise HeadersTooLarge(f"the header {shown!r} has more than the {HEADER_BYTES} bytes that are taken")


def is_upload(headers: Headers) -> bool:
    """Return whether the request has a form as its body."""
    return any(name == b"content-type" and value.lower().startswith(b"multipart/") for name, value in headers)


def body_length(headers: Headers) -> int:
    """Return how long the body is, or -1 where it is sent in chunks. The parser has checked both."""
    length = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            return -1
        if name == b"content-length":
            length = int(value)
    return length


def is_without_version(held: bytes) -> bool:
    """Return whether the first line is a request of HTTP/0.9, which has no headers."""
    end = held.find(b"\r\n")
    return end > 0 and held.count(b" ", 0, end) == 1


def reason_of(error: httptools.HttpParserError) -> RequestError:
    """Return the error to answer with, where the parser or one of its callbacks has refused a request."""
    if isinstance(error.__context__, RequestError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        return InvalidHttp("the request's target is not a path that can be used")
    return InvalidHttp(f"the request cannot be parsed: {error}")


def no_connection_left() -> TooManyConnections:
    """Return the error for a connection for which there is no room."""
    return TooManyConnections("as many connections are open as the server takes; try again later")


def stalled_head() -> RequestStalled:
    """Return the error for headers that did not arrive in time."""
    return RequestStalled(f"the headers did not come within {HEAD_SECONDS} s")


def refusal(error: RequestError, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the whole answer to a request that the application never sees; it announces the end of the connection."""
    answer = problem_of(error)
    status = HTTPStatus(error.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    headers = [*default_headers, *answer.raw_headers]
    protect(headers)
    lines += [name + b": " + value for name, value in headers]
    lines += [b"connection: close", b"", b""]
    return b"\r\n".join(lines) + bytes(answer.body)
