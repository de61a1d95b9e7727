"""Which hosts the server answers for.

A web page can have its own name resolved to any address (DNS rebinding). A browser then takes that address for the
page's own site, so the page's requests look as if this server's own pages had sent them. Only `Host` shows the name
that the browser used.
"""

import socket
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope

from ci_common.errors import InvalidHttp, MisdirectedRequest, RequestError
from ci_common.parsing.hosts import HostNames, canonical_host, host_of
from ci_common.settings import Settings

_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # recognised, not bound
_REMEMBERED = 256
_SHOWN = 100


class HostCheck:
    """Accepts requests to loopback names, to the address that the server listens on, and to `names`.

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
