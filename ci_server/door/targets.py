"""Request targets and headers that are rewritten before the application sees them."""

from collections.abc import Iterable

import httptools

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
