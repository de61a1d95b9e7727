"""The cookies of a browser that signs in: their names, how they are read, and how they are set.

Over TLS a name begins with `__Host-`, so that browsers take the cookie from this very host alone, and never without
TLS. Cookies do not know ports and the prefix demands the path `/`, so the name ends with what tells the installation:
others on the same host have cookies of their own.
"""

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Final

from starlette.responses import Response
from starlette.types import Scope

from ci_common.times import utc_now
from ci_server.http.origins import is_secure

_SECURE: Final = "__Host-"
_SUFFIX_LENGTH: Final = 12


class BrowserCookies:
    """The cookies of one installation that have the same name."""

    def __init__(self, name: str, installation_id: str) -> None:
        self._plain = f"{name}-{sha256(installation_id.encode()).hexdigest()[:_SUFFIX_LENGTH]}"
        self._secure = _SECURE + self._plain

    def read(self, scope: Scope) -> str | None:
        """Return the value of the request's cookie; None without one, or with several that differ.

        The cookie without TLS counts only where there is none: another server of this host, or of its domain, can set
        it.
        """
        found: dict[str, set[str]] = {}
        for name, value in _cookies(scope):
            found.setdefault(name, set()).add(value)
        values = found.get(self._secure) or (found.get(self._plain) if scope["scheme"] == "http" else None) or set()
        return values.pop() if len(values) == 1 else None

    def set(self, response: Response, scope: Scope, value: str, expires: datetime) -> None:
        """Have the browser send `value` until then."""
        seconds = max(0, int((expires - utc_now()).total_seconds()))
        self._write(response, is_secure(scope), value, seconds)

    def clear(self, response: Response, scope: Scope) -> None:
        """Have the browser forget the cookies that it has sent."""
        sent = {name for name, _ in _cookies(scope)}
        for name, is_tls in ((self._secure, True), (self._plain, False)):
            if name in sent:
                self._write(response, is_tls, "", 0)

    def _write(self, response: Response, is_tls: bool, value: str, seconds: int) -> None:
        name = self._secure if is_tls else self._plain
        rest = "; Secure" if is_tls else ""
        cookie = f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{rest}"
        response.headers.append("Set-Cookie", cookie)


def _cookies(scope: Scope) -> Iterator[tuple[str, str]]:
    for header, text in scope["headers"]:
        if header == b"cookie":
            for part in str(text, "latin-1").split(";"):
                name, _, value = part.strip().partition("=")
                yield name, value
