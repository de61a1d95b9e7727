"""Signing in on another device: the device authorization grant of OAuth 2.0 (RFC 8628) at an OpenID Connect issuer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from ci_client.access.addresses import is_loopback
from ci_client.errors import SignInFailed

_DISCOVERY: Final = "/.well-known/openid-configuration"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_USUAL_INTERVAL: Final = 5.0
_SLOWER: Final = 5.0
_LONGEST_WAIT: Final = 1800.0
_MOST_FAILURES: Final = 5
"""How often in a row the issuer may not answer while it is asked whether the person has signed in."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person has to do to sign in."""

    url: str
    """The page to open."""
    code: str
    """What to type in there."""
    complete_url: str | None
    """The page with the code already in it, where the issuer has one."""


async def sign_in(issuer: str, client_id: str, scopes: list[str], show: Callable[[Prompt], None]) -> str:
    """Return the ID token of the person who signs in; `show` tells them how. Raises SignInFailed.

    Waits until they have, have refused, or the issuer does not wait any longer.
    """
    async with httpx.AsyncClient(timeout=20, follow_redirects=False) as client:
        try:
            found = await _json(await client.get(_checked(issuer).removesuffix("/") + _DISCOVERY), issuer)
            if found.get("issuer") != issuer:
                raise SignInFailed(f"{issuer} says that it is another issuer")
            if "device_authorization_endpoint" not in found:
                raise SignInFailed(f"{issuer} does not offer signing in on another device (RFC 8628)")
            device_url, token_url = (_checked(found.get(name)) for name in _ENDPOINTS)
            asked = await client.post(device_url, data={"client_id": client_id, "scope": " ".join(scopes)})
            begun = await _json(asked, issuer)
            show(_prompt(begun, issuer))
            return await _wait(client, token_url, client_id, begun, issuer)
        except httpx.HTTPError as exc:
            raise SignInFailed(f"{issuer} does not answer: {exc or type(exc).__name__}") from exc


_ENDPOINTS: Final = ("device_authorization_endpoint", "token_endpoint")


async def _wait(client: httpx.AsyncClient, url: str, client_id: str, begun: dict[str, Any], issuer: str) -> str:
    form = {"grant_type": _GRANT, "device_code": str(begun.get("device_code")), "client_id": client_id}
    interval = _seconds(begun.get("interval"), _USUAL_INTERVAL)
    failures = 0
    try:
        async with asyncio.timeout(min(_LONGEST_WAIT, _seconds(begun.get("expires_in"), _LONGEST_WAIT))):
            while True:
                await asyncio.sleep(interval)
                try:
                    answer = await client.post(url, data=form)
                    failures = 0
                except httpx.TransportError:
                    failures += 1
                    if failures == _MOST_FAILURES:
                        raise
                    continue
                if answer.status_code == httpx.codes.OK:
                    return _id_token(await _json(answer, issuer), issuer)
                error = _error(answer)
                if error == "slow_down":
                    interval += _SLOWER
                elif error != "authorization_pending":
                    raise SignInFailed(_REFUSALS.get(error, f"{issuer} refuses: {error}"))
    except TimeoutError:
        raise SignInFailed(_REFUSALS["expired_token"]) from None


_REFUSALS: Final = {
    "access_denied": "the sign-in was refused on the issuer's page",
    "expired_token": "no one has signed in within the time that the issuer gives; try again",
}


def _prompt(begun: dict[str, Any], issuer: str) -> Prompt:
    url, code, complete = (begun.get(name) for name in ("verification_uri", "user_code", "verification_uri_complete"))
    if not isinstance(url, str) or not isinstance(code, str):
        raise SignInFailed(f"{issuer} answered without a page and a code to sign in with")
    return Prompt(url, code, complete if isinstance(complete, str) else None)


def _id_token(answer: dict[str, Any], issuer: str) -> str:
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise SignInFailed(f"{issuer} answered without an ID token; `request` in CI_OIDC_CONFIG has to have openid")
    return token


def _checked(url: object) -> str:
    """Return a URL to which a token may be sent. Raises SignInFailed."""
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise SignInFailed(f"the issuer's address {url!r} has no TLS, so nothing is sent there")
    return str(url)


def _seconds(value: object, usual: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else usual


def _error(answer: httpx.Response) -> str:
    try:
        found: Any = answer.json()
    except ValueError:
        found = None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, str) else f"status {answer.status_code}"


async def _json(answer: httpx.Response, issuer: str) -> dict[str, Any]:
    if answer.status_code != httpx.codes.OK:
        raise SignInFailed(f"{issuer} refuses: {_error(answer)}")
    try:
        found: Any = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SignInFailed(f"{issuer} answered with something else than a JSON object")
    return found
