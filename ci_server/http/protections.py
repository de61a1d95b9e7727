"""What every answer has for browsers: headers that hold them back, and those that let pages of named origins in."""

import hashlib
from base64 import b64encode
from typing import Final

from starlette.responses import Response
from starlette.types import Scope

from ci_common.parsing.peers import Origins
from ci_server.http.prefixes import with_prefix

Header = tuple[bytes, bytes]

PROTECTIONS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),  # Text that a job wrote is not taken for a page.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
"""What an answer has that does not say anything else."""
_ADDED: Final = "ci_server.added_headers"
_EXPOSED: Final = b"etag, location, content-disposition, content-range, retry-after, ratelimit, ratelimit-policy"
_SECONDS: Final = b"600"


def style_policy(style: str) -> str:
    """Return the Content-Security-Policy of a page that loads nothing and has this text as its only style."""
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-{digest}'"
    )


def protect(headers: list[Header], scope: Scope | None = None) -> None:
    """Add what the answer does not have, and what that to the request of `scope` has besides."""
    there = {name for name, _ in headers}
    headers.extend(each for each in PROTECTIONS if each[0] not in there)
    if scope is not None:
        headers.extend(scope.get(_ADDED, ()))
        with_prefix(scope, headers)


class CrossOrigin:
    """Lets the pages of named origins call the API. Their requests need keys like all others, and no cookies count."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def note(self, scope: Scope) -> bool:
        """Return whether the request is of a named origin, and then have its answers say so."""
        if not self._origins:
            return False
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        known = origin is not None and str(origin, "latin-1") in self._origins
        scope[_ADDED] = ((b"vary", b"Origin"),)
        if known and origin is not None:
            scope[_ADDED] += (
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED),
            )
        return known

    @staticmethod
    def preflight(scope: Scope) -> Response | None:
        """Return the answer to a browser that asks what a page may send, or None for other requests."""
        wanted = {name: value for name, value in scope["headers"] if name.startswith(b"access-control-request-")}
        if scope["method"] != "OPTIONS" or b"access-control-request-method" not in wanted:
            return None
        answer = Response(status_code=204)
        answer.raw_headers += [
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", wanted.get(b"access-control-request-headers", b"authorization")),
            (b"access-control-max-age", _SECONDS),
        ]
        return answer
