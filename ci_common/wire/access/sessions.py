"""Sessions of browsers over HTTP: the body of a sign-in, and what a page is told of its sender."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from ci_common.access.identity import Identity, Role, Scope
from ci_common.access.keys import Key, KeyKind
from ci_common.parsing.models import StrictModel
from ci_common.times import to_rfc3339
from ci_common.wire.access.keys import KeyView, key_on_wire
from ci_common.wire.parts import Instant, Shown

_LONGEST_TOKEN = 16_384


class SignInRequest(StrictModel):
    """What a browser signs in with."""

    key: Annotated[str, Field(min_length=1, max_length=_LONGEST_TOKEN)] | None = Field(
        None, repr=False, description="a key, or a token of an issuer; by default the one in `Authorization`"
    )


class SignInProblem(StrEnum):
    """Why a browser has come back from an issuer without being signed in: `error` of the page `/ui/sign-in`."""

    STATE = "state"
    """The sign-in was begun in another browser, was begun again since, or took longer than ten minutes."""
    DENIED = "denied"
    """The person, or the issuer, has refused it."""
    ISSUER_ERROR = "issuer_error"
    """The issuer has answered with an error."""
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    """The issuer does not answer."""
    TOKEN = "token"  # noqa: S105  # a code, not a token
    """The issuer's token is not valid here."""
    NOT_ALLOWED = "not_allowed"
    """The person is known, and no grant says that they may do anything here."""
    UNAVAILABLE = "unavailable"
    """This server cannot reach its database."""


class SenderView(Shown):
    """Who sends a request, and what they may do."""

    name: str
    role: Role | None = Field(strict=False, description="null if the scopes are not those of a role")
    scopes: list[Annotated[Scope, Field(strict=False)]]
    projects: list[str] | None = Field(description="where role and scopes hold; null for everywhere")
    memberships: dict[str, Role] = Field(description="the roles by membership of projects, which count besides")
    scopes_in: dict[str, list[Annotated[Scope, Field(strict=False)]]] = Field(
        description="of each project with a membership, all scopes that hold there"
    )
    by: Literal["nothing", "key", "token", "session"] = Field(
        description="what says who it is; `nothing` while no key is needed"
    )
    expires: Instant | None = Field(description="until when it is accepted; null: until it is revoked")
    key: KeyView | None = Field(description="the key, or the session, that the request was sent with")


class WayToSignInView(Shown):
    """An OpenID Connect issuer at which people sign in."""

    issuer: str
    url: str = Field(description="where a browser begins; takes `return_to`, a path below `/ui/`, besides")


class SessionView(Shown):
    """What a page has to know before it shows anything."""

    needs_sign_in: bool = Field(description="whether requests are refused that have neither key nor session")
    sender: SenderView | None = Field(description="who the sender is; null if that is not known, and has to be")
    problem: str | None = Field(description="why what the request was sent with is not accepted")
    issuers: list[WayToSignInView] = Field(description="where to sign in, besides with a key")


@dataclass(frozen=True)
class Sender:
    """The sender of a request, and the key that it was sent with, if any."""

    identity: Identity
    key: Key | None


def session_on_wire(
    sender: Sender | None, problem: str | None, issuers: Iterable[tuple[str, str]], *, needs_sign_in: bool
) -> dict[str, Any]:
    """Return what a page is told. `issuers` are URLs of issuers, each with where to begin."""
    return {
        "needs_sign_in": needs_sign_in,
        "sender": None if sender is None else _sender(sender.identity, sender.key),
        "problem": problem,
        "issuers": [{"issuer": issuer, "url": url} for issuer, url in issuers],
    }


def _sender(identity: Identity, key: Key | None) -> dict[str, Any]:
    expires = identity.expires if key is None else key.expires
    return {
        "name": identity.name,
        "role": identity.role if key is None else key.role,
        "scopes": sorted(identity.scopes),
        "projects": None if identity.projects is None else sorted(identity.projects),
        "memberships": dict(identity.memberships),
        "scopes_in": {project: sorted(identity.scopes_in(project)) for project, _ in identity.memberships},
        "by": _by(key, expires),
        "expires": None if expires is None else to_rfc3339(expires),
        "key": None if key is None else key_on_wire(key),
    }


def _by(key: Key | None, expires: datetime | None) -> str:
    if key is not None:
        return "session" if key.kind is KeyKind.SESSION else "key"
    return "nothing" if expires is None else "token"
