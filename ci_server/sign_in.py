"""The endpoints with which a browser signs in at an OpenID Connect issuer. A browser opens them as pages.

So what fails goes to the page for signing in, with a code of `SignInProblem`, and never to the issuer again by itself:
a browser that cannot be signed in does not go in circles.
"""

import logging
import re
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlencode

from pydantic import AfterValidator, ConfigDict, Field
from starlette.responses import Response

from ci_common.errors import FieldError, IssuerNotFound, Unavailable
from ci_common.parsing.models import invalid
from ci_common.parsing.text import shown
from ci_common.parsing.values import Line
from ci_common.times import utc_now
from ci_common.wire.access.sessions import SignInProblem
from ci_server.access.oidc.browsers import FLOW_SECONDS, BrowserSignIn, Callback, Flow, SignInFailed
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass
from ci_server.http.exchange import header_of
from ci_server.http.prefixes import prefix_of
from ci_server.http.refusals import KeyInvalid
from ci_server.http.requests import QueryModel
from ci_server.sessions import SIGN_IN_PATH, begin_session

PAGES: Final = "/ui/"
_SIGN_IN_PAGE: Final = "/ui/sign-in"
_CALLBACK: Final = f"{SIGN_IN_PATH}/callback"
_LONGEST: Final = 1000
_PLAIN: Final = re.compile(r"/[!-\[\]-~]*")
"""A path in ASCII, without spaces and without backslashes, which browsers take for slashes."""
_DOTS: Final = frozenset({".", ".."})

logger = logging.getLogger(__name__)


def _page(value: str) -> str:
    path = re.split(r"[?#]", value, maxsplit=1)[0]
    if not _PLAIN.fullmatch(value) or _DOTS & set(unquote(path).split("/")):
        raise ValueError(f"it is a path below {PAGES}, as in {PAGES}jobs")
    return value


class BeginQuery(QueryModel):
    """Where a browser signs in, and which page comes then."""

    issuer: Line | None = Field(None, description="one of those in `GET /session`; not needed if there is only one")
    return_to: Annotated[str, Field(max_length=_LONGEST), AfterValidator(_page)] = Field(
        PAGES,
        description="the page that comes after the sign-in, a path below `/ui/`",
        json_schema_extra={"pattern": "^/ui/[A-Za-z0-9_/-]*$"},  # Narrower than what is taken, which dots make long.
    )


class CallbackQuery(QueryModel):
    """What an issuer sends back. Issuers add other parameters, which do not matter here."""

    model_config = ConfigDict(extra="ignore")

    code: str | None = Field(None, description="what the token is exchanged for")
    state: str | None = Field(None, description="what shows that this browser has begun the sign-in")
    iss: str | None = Field(None, description="the issuer (RFC 9207)")
    error: str | None = Field(None, description="why no one has signed in")


async def begin_sign_in(call: Call[BeginQuery, None]) -> Response:
    browsers = call.services.authentication.browsers
    flow = Flow.begin(_chosen(browsers, call.query.issuer), _own_path(call))
    try:
        url = await browsers.begin(flow, _callback_url(call)) if browsers is not None else ""
    except SignInFailed as exc:
        return _failed(exc.problem, str(exc), flow.return_to)
    answer = _to(url)
    expires = utc_now() + timedelta(seconds=FLOW_SECONDS)
    call.services.sign_in_cookies.set(answer, call.request.scope, flow.cookie, expires)
    return answer


async def finish_sign_in(call: Call[CallbackQuery, None]) -> Response:
    query, scope = call.query, call.request.scope
    flow = Flow.read(call.services.sign_in_cookies.read(scope))
    answer = await _finished(call, flow, Callback(query.code, query.state, query.iss, query.error))
    call.services.sign_in_cookies.clear(answer, scope)
    return answer


async def _finished(call: Call[Any, None], flow: Flow | None, callback: Callback) -> Response:
    browsers = call.services.authentication.browsers
    return_to = PAGES if flow is None or not _is_page(flow.return_to) else flow.return_to
    try:
        if browsers is None:
            raise SignInFailed(SignInProblem.STATE, "no issuer is configured")
        sender, token = await browsers.finish(flow, callback, _callback_url(call))
        begun = await begin_session(call, sender, token)
    except SignInFailed as exc:
        call.services.audit.refuse(call.request, None, "finish_sign_in", KeyInvalid(str(exc)))
        return _failed(exc.problem, str(exc), return_to)
    except Unavailable as exc:
        return _failed(SignInProblem.UNAVAILABLE, str(exc), return_to)
    answer = _to(return_to)
    begun.give(answer, call)
    return answer


def _chosen(browsers: BrowserSignIn | None, wanted: str | None) -> str:
    """Return the issuer at which to sign in. Raises IssuerNotFound."""
    names = [] if browsers is None else list(browsers.issuers)
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is not None and wanted in names:
        return wanted
    if not names:
        message = "no issuer of CI_OIDC_CONFIG has a client_id, so no one signs in with a browser there"
    elif wanted is None:
        message = f"name one of {', '.join(names)}"
    else:
        message = f"{shown(wanted)} is not one of {', '.join(names)}"
    raise IssuerNotFound(message)


def _own_path(call: Call[BeginQuery, None]) -> str:
    """Return the page to come back to, without the prefix that a page sees. Raises InvalidRequest."""
    wanted, prefix = call.query.return_to, prefix_of(call.request.scope)
    path = wanted.removeprefix(prefix) if prefix and wanted.startswith(f"{prefix}/") else wanted
    if not _is_page(path):
        raise invalid("the query", FieldError("return_to", f"it is a path below {PAGES}, as in {PAGES}jobs"))
    return path


def _is_page(path: str) -> bool:
    try:
        return len(path) <= _LONGEST and _page(path).startswith(PAGES)
    except ValueError:
        return False


def _callback_url(call: Call[Any, None]) -> str:
    """Return where the issuer sends the browser back to, as browsers see this server."""
    scope = call.request.scope
    return f"{scope['scheme']}://{header_of(scope, b'host') or 'localhost'}{prefix_of(scope)}{_CALLBACK}"


def _failed(problem: SignInProblem, why: str, return_to: str) -> Response:
    logger.warning("a browser is not signed in (%s): %s", problem, why)
    return _to(f"{_SIGN_IN_PAGE}?{urlencode({'error': problem.value, 'return_to': return_to})}")


def _to(url: str) -> Response:
    return Response(status_code=303, headers={"Location": url, "Cache-Control": "no-store"})


_SENT_ON: Final = Answer("Where the browser goes on.", headers=("Location",))

ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path=SIGN_IN_PATH,
        handler=begin_sign_in,
        query=BeginQuery,
        summary="Sign a browser in at an issuer",
        description=(
            "for browsers to open: 303 to the [issuer](sign-in.md#browsers), by authorization code with PKCE; "
            "`issuer` names it, if there are several, and `return_to` the page that comes then"
        ),
        answers={303: _SENT_ON},
        errors=(IssuerNotFound,),
        scope=None,
        rate_class=RateClass.WRITE,
    ),
    Endpoint(
        method="GET",
        path=_CALLBACK,
        handler=finish_sign_in,
        changes=True,
        query=CallbackQuery,
        summary="Come back from the issuer",
        description=(
            "where the issuer sends the browser back to, with `code`, `state` and `iss`, or with `error`: 303 to the "
            "page, with the cookie of a session, or to "
            "`/ui/sign-in` with a [code](sign-in.md#browsers) in `error`"
        ),
        answers={303: _SENT_ON},
        scope=None,
        rate_class=RateClass.WRITE,
    ),
)
