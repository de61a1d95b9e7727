"""From a token of an OpenID Connect issuer to the identity of its sender."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError

from ci_common.access.identity import Identity
from ci_common.parsing.text import shown
from ci_common.settings import Settings
from ci_server.access.oidc.configuration import Issuer, OidcConfig, read_config
from ci_server.access.oidc.fetching import Fetcher
from ci_server.access.oidc.key_sets import IssuerKeys
from ci_server.http.refusals import KeyInvalid

SKEW_SECONDS: Final = 60
"""How far the clocks of issuer and server may differ."""
_LONGEST_KEY_ID: Final = 500


class NotGranted(KeyInvalid):
    """The token is valid, and may do nothing here."""


def is_token(text: str) -> bool:
    """Return whether a bearer's text has the form of a signed token, not of a key."""
    return text.count(".") == 2 and text.startswith("ey")


class OidcTokens:
    """Knows the senders of tokens. For one event loop."""

    def __init__(self, config: OidcConfig, fetch: Fetcher) -> None:
        self._issuers = {each.issuer: each for each in config.issuers}
        self._keys = {each.issuer: IssuerKeys(each.issuer, each.keys_url, fetch) for each in config.issuers}
        self._fetch = fetch

    @classmethod
    def of(cls, settings: Settings) -> "OidcTokens | None":
        """Return what the settings ask for. Raises SettingsError."""
        if settings.oidc_config is None:
            return None
        return cls(read_config(settings.oidc_config), Fetcher(settings.ca_bundle))

    @property
    def fetcher(self) -> Fetcher:
        """What asks the issuers."""
        return self._fetch

    @property
    def for_people(self) -> list[Issuer]:
        """The issuers at which people sign in."""
        return [each for each in self._issuers.values() if each.client_id is not None]

    async def identify(self, text: str) -> Identity:
        """Return the identity of a token's sender. Raises KeyInvalid, Unavailable."""
        return identity_of(*await self.verified(text))

    async def verified(self, text: str) -> tuple[Issuer, Mapping[str, Any]]:
        """Return the issuer of a token, and its claims. Raises KeyInvalid, Unavailable.

        Which issuer it names is read before anything is verified, to choose one of those that are trusted; no other is
        ever asked for anything.
        """
        header, claims = (_part(each) for each in text.split(".")[:2])
        issuer = self._issuer(claims)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms:
            accepted = ", ".join(issuer.algorithms)
            raise KeyInvalid(f"the token is signed by {shown(algorithm)}; of this issuer, {accepted} is accepted")
        if "crit" in header or (key_id is not None and not _is_key_id(key_id)):
            raise KeyInvalid("the token has a header that is not understood")
        key = await self._keys[issuer.issuer].find(key_id)
        if key is None:
            raise KeyInvalid("the token is signed with a key that its issuer does not have")
        try:
            # The claims from here on are those that were verified.
            verified = jwt.decode(text, key, algorithms=list(issuer.algorithms)).claims
            _rules(issuer).validate(verified)
        except ExpiredTokenError:
            raise KeyInvalid(f"the token has expired; get a new one from {issuer.issuer}") from None
        except (JoseError, ValueError, TypeError) as exc:
            raise KeyInvalid(f"the token is not valid: {_reason(exc)}") from None
        return issuer, verified

    async def close(self) -> None:
        """End what is still being asked, and close connections."""
        for keys in self._keys.values():
            await keys.close()
        await self._fetch.close()

    def _issuer(self, claims: Mapping[str, Any]) -> Issuer:
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise KeyInvalid(f"the issuer of the token, {shown(name)}, is not one that CI_OIDC_CONFIG names")
        return issuer


def _rules(issuer: Issuer) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        leeway=SKEW_SECONDS,
        iss={"essential": True, "value": issuer.issuer},
        aud={"essential": True, "value": issuer.audience},
        sub={"essential": True},
        exp={"essential": True},
    )


def identity_of(issuer: Issuer, claims: Mapping[str, Any]) -> Identity:
    """Return the identity that a token with these claims gives. Raises KeyInvalid, as `NotGranted` without a grant."""
    try:
        identity = issuer.identity(claims)
    except ValueError as exc:
        raise KeyInvalid(f"the token is not enough: {exc}") from None
    if identity is None:
        raise NotGranted(
            f"the token is valid, but none of the grants of {issuer.issuer} in CI_OIDC_CONFIG matches its claims"
        )
    return replace(identity, expires=_end_of(claims))


def _end_of(claims: Mapping[str, Any]) -> datetime:
    """Return until when a token is accepted."""
    try:
        return datetime.fromtimestamp(claims["exp"] + SKEW_SECONDS, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.max.replace(tzinfo=UTC)


def _part(text: str) -> Mapping[str, Any]:
    try:
        part = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        part = None
    if not isinstance(part, dict):
        raise KeyInvalid("the token is not one: three parts of base64url with dots between, of which two are JSON")
    return part


def _is_key_id(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_KEY_ID


def _reason(error: Exception) -> str:
    return str(error).partition(":")[2].strip() or type(error).__name__ if isinstance(error, JoseError) else str(error)
