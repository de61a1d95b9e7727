"""The head of a request: its limits, and what of it is rewritten before the application sees it."""

from collections.abc import Iterable

import httptools

from ci_common.errors import HeadersTooLarge, InvalidHttp, RequestError, UrlTooLong
from ci_server.connections.limits import HEAD_BYTES, HEADER_BYTES, HEADERS, URL_BYTES

Headers = list[tuple[bytes, bytes]]

_OF_AN_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


def in_origin_form(url: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return the target and the headers of a request whose target is a whole URL, as if it were a path.

    Its host counts, and not the header `Host` (RFC 9112, 3.2.2). Raises HttpParserInvalidURLError.
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
    """Return the head of a request that asks for another protocol as one that does not."""
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
    """Raise UrlTooLong where it is."""
    if len(url) > URL_BYTES:
        raise UrlTooLong(f"the URL has more than the {URL_BYTES} bytes that are taken")


def check_size(size: int) -> None:
    """Raise HeadersTooLarge where a request line and headers that have not ended yet are as long as they may be."""
    if size >= HEAD_BYTES:
        raise HeadersTooLarge(f"request line and headers have more than the {HEAD_BYTES} bytes that are taken")


def check_headers(headers: Headers, size: int) -> None:
    """Raise HeadersTooLarge where they are; `size` is theirs and the request line's."""
    if len(headers) > HEADERS:
        raise HeadersTooLarge(f"the request has more than the {HEADERS} headers that are taken")
    if size <= HEADER_BYTES:
        return
    for name, value in headers:
        if len(name) + len(value) > HEADER_BYTES:
            shown = name[:100].decode("latin-1")
            raise HeadersTooLarge(f"the header {shown!r} has more than the {HEADER_BYTES} bytes that are taken")


def is_upload(headers: Headers) -> bool:
    """Tell whether a request brings a form."""
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
    """Tell whether the first line is a request of HTTP/0.9, after which no headers would come."""
    end = held.find(b"\r\n")
    return end > 0 and held.count(b" ", 0, end) == 1


def reason_of(error: httptools.HttpParserError) -> RequestError:
    """Return what to answer to a request that the parser, or what it calls, has refused."""
    if isinstance(error.__context__, RequestError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        return InvalidHttp("the request's target is not a path that can be used")
    return InvalidHttp(f"the request cannot be parsed: {error}")
