"""The addresses of servers."""

import os
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ci_client.errors import ServerUnreachable

DEFAULT_URL: Final = "http://localhost:8000"
USER_AGENT: Final = "ci-server-client"


def configured_url() -> str | None:
    """Return the server that CI_SERVER_URL names, or None."""
    return os.environ.get("CI_SERVER_URL") or None


def parts_of(server_url: str) -> SplitResult:
    """Return the parts of a server's URL. Raises ServerUnreachable if it is not one."""
    try:
        parts = urlsplit(server_url)
        is_one = bool(parts.path) if parts.scheme == "unix" else parts.scheme in ("http", "https") and parts.hostname
        if is_one and parts.port != 0 and not (parts.query or parts.fragment):  # Asking for the port checks it.
            return parts
    except ValueError:
        pass  # Unbalanced brackets, or a port above 65535.
    raise ServerUnreachable(
        f"{server_url!r} is not a server's URL; write http://HOST:PORT, https://HOST or unix:///PATH"
    )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback."""
    if host in ("127.0.0.1", "localhost"):
        return True
    from ipaddress import ip_address  # Few addresses have to be looked at more closely.

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.endswith(".localhost")
