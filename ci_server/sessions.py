"""The sessions of browsers: signing in with a key, who has signed in, and signing out.

A session is a key of its own kind, whose secret is in a cookie. These endpoints are open to everyone, since a browser
that has not signed in asks them, too.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from ci_common.access.identity import Identity
from ci_common.access.keys import Key, KeyKind, digest_of, key_of, new_secret
from ci_common.times import utc_now
from ci_common.wire.access.sessions import Sender, SessionView, SignInRequest, session_on_wire
from ci_server.access.authentication import bearer_of
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, json_answer, model_body
from ci_server.http.origins import check_own_page
from ci_server.http.prefixes import prefix_of
from ci_server.http.refusals import CrossSite, KeyInvalid, KeyMissing, SessionEnded
from ci_server.http.requests import NoQuery
from ci_server.http.responses import Document

SIGN_IN_PATH: Final = "/session/oidc"
_NOT_STORED: Final = {"Cache-Control": "no-store"}


async def get_session(call: Call[NoQuery, None]) -> Response:
    authentication = call.services.authentication
    sender, problem = None, None
    try:
        identity = await authentication.identify(call.request)
        sender = Sender(identity, await authentication.find(identity))
    except KeyMissing:
        pass  # The page asks to find that out.
    except (KeyInvalid, SessionEnded) as exc:
        problem = str(exc)
    return await _answer(call, sender, problem)


async def create_session(call: Call[NoQuery, SignInRequest]) -> Response:
    request, services = call.request, call.services
    check_own_page(request.scope)
    sent = bearer_of(request) if call.body.key is None else call.body.key
    if sent is None:
        raise KeyMissing('the request has no key to sign in with: send it as {"key": KEY}')
    sender = await services.authentication.identify_key(request, sent)
    begun = await begin_session(call, sender, sent)
    identity = replace(sender, key_id=begun.session.id, expires=None)
    answer = await _answer(call, Sender(identity, begun.session), status=201)
    begun.give(answer, call)
    return answer


async def delete_session(call: Call[NoQuery, None]) -> Response:
    check_own_page(call.request.scope)
    await _end_session(call)
    answer = Response(status_code=204)
    call.services.session_cookies.clear(answer, call.request.scope)
    return answer


@dataclass(frozen=True)
class BegunSession:
    """A session that a browser is to be given."""

    session: Key
    secret: str
    expires: datetime

    def give(self, answer: Response, call: Call[Any, Any]) -> None:
        """Have the answer set the cookie."""
        call.services.session_cookies.set(answer, call.request.scope, self.secret, self.expires)


async def begin_session(call: Call[Any, Any], sender: Identity, sent: str) -> BegunSession:
    """Begin a session of `sender`, whose key or token is `sent`, and end the one that the browser has.

    Raises KeyInvalid, Unavailable.
    """
    services = call.services
    key = await services.authentication.find(sender)
    secret, now = new_secret(), utc_now()
    expires = now + timedelta(seconds=services.settings.sign_in_lifetime)
    session = key_of(sender, secret, name=f"browser of {sender.name}", now=now, expires=expires)
    session = replace(session, kind=KeyKind.SESSION)
    if key is not None:
        ends = expires if key.expires is None else min(expires, key.expires)
        session = replace(session, role=key.role, scopes=key.scopes, made_from=key.id, expires=ends)
    services.concern(target=f"/keys/{session.id}", sender=sender)
    if not await services.storage.keys.add_session(session, digest_of(sent)):
        raise KeyInvalid("the key has just been revoked, or replaced")
    services.authentication.forget(session.id)
    await _end_session(call)
    return BegunSession(session, secret.key, session.expires or expires)


async def _end_session(call: Call[Any, Any]) -> None:
    """End the session that the browser has, if any."""
    services = call.services
    session = await services.authentication.session_of(call.request)
    if session is not None:
        services.concern(target=f"/keys/{session.id}", sender=session.identity())
        await services.storage.keys.revoke(session.id, utc_now())
        services.authentication.forget(session.id)


async def _answer(
    call: Call[Any, Any], sender: Sender | None, problem: str | None = None, status: int = 200
) -> Response:
    needs_sign_in = await call.services.authentication.needs_keys(call.request)
    begin = f"{prefix_of(call.request.scope)}{SIGN_IN_PATH}"
    issuers = [
        (each.issuer, f"{begin}?{urlencode({'issuer': each.issuer})}") for each in call.services.authentication.issuers
    ]
    return Document(session_on_wire(sender, problem, issuers, needs_sign_in=needs_sign_in), status, _NOT_STORED)


ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/session",
        handler=get_session,
        summary="Who is signed in",
        description=(
            "200 for everyone, also without a key: `needs_sign_in`; `sender`, who this request is from and what they "
            "may do, or null; `problem`, why what it was sent with is not accepted; `issuers`, where people [sign "
            "in](sign-in.md#browsers) besides"
        ),
        answers={200: json_answer(SessionView, "What a page has to know.")},
        errors=(CrossSite,),
        scope=None,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="POST",
        path="/session",
        handler=create_session,
        body=model_body(SignInRequest, required=False),
        summary="Sign a browser in",
        description=(
            '`{"key": …}`, or a header `Authorization`; 201 as `GET /session`, with a [cookie](sign-in.md#browsers) '
            "that counts as the key, for `CI_SIGN_IN_LIFETIME` at most. Only for pages of this server"
        ),
        answers={201: json_answer(SessionView, "The browser is signed in.", headers=("Set-Cookie",))},
        errors=(KeyMissing, KeyInvalid),
        scope=None,
        rate_class=RateClass.WRITE,
    ),
    Endpoint(
        method="DELETE",
        path="/session",
        handler=delete_session,
        summary="Sign a browser out",
        description=(
            "204, also if it is not signed in: its session ends at once, with the streams that it has open, and the "
            "cookie is removed. Only for pages of this server"
        ),
        answers={204: Answer("It is signed out.")},
        scope=None,
        rate_class=RateClass.WRITE,
    ),
)
