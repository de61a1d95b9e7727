"""From whose page a browser sends a request, and whether that page may use what the browser knows of its person."""

from typing import Final
from urllib.parse import urlsplit

from starlette.types import Scope

from ci_server.http.exchange import header_of
from ci_server.http.refusals import CrossSite

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NOT_OWN: Final = (
    "the request has the cookie of a browser that has signed in, and no page of this server sent it; it was not "
    "carried out"
)


def is_cross_site(scope: Scope) -> bool:
    """Return whether a browser says that a page of another site wants something changed here.

    The request's host is one that the server answers for, so it names this site.
    """
    if scope["method"] in _SAFE_METHODS:
        return False
    fetch_site = header_of(scope, b"sec-fetch-site")
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    origin = header_of(scope, b"origin")
    return origin is not None and not _is_own(scope, origin)


def check_own_page(scope: Scope) -> None:
    """Raise CrossSite if a browser does not say that a page of this very origin has sent the request.

    A page of the same site is another origin: another port, or another name of the same domain. Reading is possible
    without a page, too: from the address bar, and by a link that opens the answer as a page of its own, which the page
    with the link cannot look into.
    """
    is_reading = scope["method"] in _SAFE_METHODS
    fetch_site = header_of(scope, b"sec-fetch-site")
    if fetch_site is None:  # Browsers leave it out where there is neither TLS nor a loopback address.
        origin = header_of(scope, b"origin")
        is_own = is_reading if origin is None else _is_own(scope, origin)
    elif is_reading and fetch_site != "same-origin":
        is_page = header_of(scope, b"sec-fetch-mode") == "navigate"
        is_own = fetch_site == "none" or (is_page and header_of(scope, b"sec-fetch-dest") == "document")
    else:
        is_own = fetch_site == "same-origin"
    if not is_own:
        raise CrossSite(_NOT_OWN)


def is_secure(scope: Scope) -> bool:
    """Return whether the browser's own connection is encrypted, by what the server knows or the browser says."""
    return scope["scheme"] == "https" or (header_of(scope, b"origin") or "").startswith("https://")


def _is_own(scope: Scope, origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    # A proxy may encrypt what comes here in clear, and none does the opposite.
    is_downgraded = parts.scheme != "https" and scope["scheme"] == "https"
    return parts.netloc == header_of(scope, b"host") and not is_downgraded
