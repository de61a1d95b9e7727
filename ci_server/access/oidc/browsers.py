"""Signing in at an issuer with a browser: the authorization code flow of OpenID Connect, with PKCE, state and nonce.

What belongs to one sign-in is in a cookie of the browser that has begun it. State, nonce and verifier are made from its
random part, so that a callback is accepted only there, and neither the issuer nor a URL ever has that part.
"""

import base64
import hmac
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from ci_common.access.identity import Identity
from ci_common.errors import CiError, Unavailable
from ci_common.parsing.text import shown
from ci_common.wire.access.sessions import SignInProblem
from ci_server.access.oidc.configuration import Issuer, client_secret_of
from ci_server.access.oidc.fetching import discovered, place_in
from ci_server.access.oidc.tokens import NotGranted, OidcTokens, identity_of, is_token
from ci_server.access.remembering import Memory
from ci_server.http.refusals import KeyInvalid

FLOW_SECONDS: Final = 600.0
"""How long a person may take at the issuer."""
_KNOWN_SECONDS: Final = 3600.0
_MOST_ISSUERS: Final = 64
_SECRET_BYTES: Final = 32
_LONGEST_CODE: Final = 4096
_BASIC: Final = "client_secret_basic"

logger = logging.getLogger(__name__)


class SignInFailed(CiError):
    """A sign-in has failed; `problem` is for the page, and the text for the log."""

    def __init__(self, problem: SignInProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Flow:
    """One sign-in that a browser has begun."""

    issuer: str
    return_to: str
    secret: str

    @classmethod
    def begin(cls, issuer: str, return_to: str) -> "Flow":
        """Return a new one."""
        return cls(issuer, return_to, _encoded(secrets.token_bytes(_SECRET_BYTES)))

    @classmethod
    def read(cls, cookie: str | None) -> "Flow | None":
        """Return what a cookie says, or None if it is not one."""
        try:
            content = json.loads(base64.urlsafe_b64decode((cookie or "").encode("ascii") + b"=="))
        except (ValueError, RecursionError):
            return None
        is_flow = isinstance(content, list) and len(content) == 3 and all(isinstance(each, str) for each in content)
        return cls(*content) if is_flow else None

    @property
    def cookie(self) -> str:
        """The text that `read` reads."""
        return _encoded(json.dumps([self.issuer, self.return_to, self.secret]).encode())

    @property
    def state(self) -> str:
        """What comes back with the browser, and shows that it has begun this sign-in."""
        return self._made("state")

    @property
    def nonce(self) -> str:
        """What the token has to have, which shows that it was made for this sign-in."""
        return self._made("nonce")

    @property
    def verifier(self) -> str:
        """What the code is exchanged with, which shows that this server has asked for it."""
        return self._made("verifier")

    def _made(self, purpose: str) -> str:
        return _encoded(hmac.digest(self.secret.encode(), purpose.encode(), "sha256"))


@dataclass(frozen=True, slots=True)
class Callback:
    """What an issuer sends back with the browser."""

    code: str | None
    state: str | None
    issuer: str | None
    error: str | None


class BrowserSignIn:
    """Signs people in at the issuers of `tokens`. For one event loop."""

    def __init__(self, tokens: OidcTokens) -> None:
        """Raises SettingsError for the secret of a client that cannot be read."""
        self._tokens = tokens
        self.issuers: Final = {each.issuer: each for each in tokens.for_people}
        self._secrets = {name: client_secret_of(each) for name, each in self.issuers.items()}
        self._documents: Memory[Mapping[str, Any]] = Memory(_MOST_ISSUERS)

    async def begin(self, flow: Flow, callback_url: str) -> str:
        """Return where the browser goes. Raises SignInFailed."""
        issuer = self.issuers[flow.issuer]
        url = await self._place(issuer, "authorization_endpoint")
        asked = {
            "response_type": "code",
            "client_id": issuer.client_id or "",
            "redirect_uri": callback_url,
            "scope": " ".join(issuer.request),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": _encoded(sha256(flow.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(asked)}"

    async def finish(self, flow: Flow | None, callback: Callback, callback_url: str) -> tuple[Identity, str]:
        """Return who has signed in, and their token. Raises SignInFailed."""
        issuer = None if flow is None else self.issuers.get(flow.issuer)
        if flow is None or issuer is None or not _is_same(callback.state, flow.state):
            raise SignInFailed(SignInProblem.STATE, "this browser has not begun it, or not lately")
        if callback.error is not None:
            is_denied = callback.error == "access_denied"
            problem = SignInProblem.DENIED if is_denied else SignInProblem.ISSUER_ERROR
            raise SignInFailed(problem, f"{issuer.issuer} says {shown(callback.error)}")
        if callback.issuer not in (None, issuer.issuer):
            raise SignInFailed(SignInProblem.ISSUER_ERROR, f"{shown(callback.issuer)} answers for {issuer.issuer}")
        text = await self._exchange(issuer, flow, callback.code, callback_url)
        try:
            found, claims = await self._tokens.verified(text)
            if found is not issuer or not _is_same(claims.get("nonce"), flow.nonce):
                raise KeyInvalid("the token was not made for this sign-in")
            if claims.get("azp", issuer.client_id) != issuer.client_id:
                raise KeyInvalid("the token was made for another client")
            return identity_of(issuer, claims), text
        except NotGranted as exc:
            raise SignInFailed(SignInProblem.NOT_ALLOWED, str(exc)) from exc
        except KeyInvalid as exc:
            raise SignInFailed(SignInProblem.TOKEN, str(exc)) from exc
        except Unavailable as exc:
            raise SignInFailed(SignInProblem.ISSUER_UNAVAILABLE, str(exc)) from exc

    async def _exchange(self, issuer: Issuer, flow: Flow, code: str | None, callback_url: str) -> str:
        """Return the ID token for a code."""
        if code is None or len(code) > _LONGEST_CODE:
            raise SignInFailed(SignInProblem.ISSUER_ERROR, f"{issuer.issuer} has sent no code that can be used")
        url = await self._place(issuer, "token_endpoint")
        client_id, secret = issuer.client_id or "", self._secrets[issuer.issuer]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback_url,
            "client_id": client_id,
            "code_verifier": flow.verifier,
        }
        credentials = None
        if secret is not None:
            document = await self._document(issuer)
            if _BASIC in document.get("token_endpoint_auth_methods_supported", (_BASIC,)):
                credentials = quote_plus(client_id), quote_plus(secret)
            else:
                form["client_secret"] = secret
        try:
            status, answer = await self._tokens.fetcher.post(url, form, credentials)
        except (TimeoutError, OSError) as exc:
            raise _unavailable(issuer, exc) from exc
        except ValueError as exc:
            raise SignInFailed(SignInProblem.ISSUER_ERROR, str(exc)) from exc
        text = answer.get("id_token") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(text, str) or not is_token(text):
            said = answer.get("error") if isinstance(answer, dict) else None
            message = f"{issuer.issuer} gives no ID token for the code: status {status}, {shown(said)}"
            raise SignInFailed(SignInProblem.ISSUER_ERROR, message)
        return text

    async def _place(self, issuer: Issuer, name: str) -> str:
        try:
            return place_in(await self._document(issuer), name, issuer.issuer)
        except ValueError as exc:
            raise SignInFailed(SignInProblem.ISSUER_ERROR, f"{issuer.issuer}: {exc}") from exc

    async def _document(self, issuer: Issuer) -> Mapping[str, Any]:
        name = issuer.issuer
        try:
            return await self._documents.get(name, lambda: discovered(self._tokens.fetcher, name), _KNOWN_SECONDS)
        except (TimeoutError, OSError) as exc:
            raise _unavailable(issuer, exc) from exc
        except ValueError as exc:
            raise SignInFailed(SignInProblem.ISSUER_UNAVAILABLE, f"{name}: {exc}") from exc


def _unavailable(issuer: Issuer, error: Exception) -> SignInFailed:
    message = f"{issuer.issuer} does not answer: {error or type(error).__name__}"
    return SignInFailed(SignInProblem.ISSUER_UNAVAILABLE, message)


def _is_same(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
