"""API keys over HTTP: the bodies of requests, and what answers show."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from ci_common.access.identity import Identity, Role, Scope
from ci_common.access.keys import ID_PATTERN, Key, KeyKind
from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.values import Duration, NonNegativeDuration
from ci_common.spec import Name
from ci_common.times import to_rfc3339
from ci_common.wire.parts import Instant, Shown

LONGEST_OVERLAP = 30 * 86_400.0
"""The most seconds for which the secret before a rotation may be accepted."""
_LONGEST_LIFE = 10 * 366 * 86_400.0
_MOST_PROJECTS = 100
_MOST_SCOPES = 32


def _some(names: list[str]) -> list[str]:
    if not names:
        raise ValueError("the list is empty; leave it out for all projects, or name some")
    return names


class KeyRequest(StrictModel):
    """A key to be made: either a role or scopes, for all projects that the sender has or for some of them."""

    name: Name = Field(description="what people call it")
    role: Role | None = None
    scopes: Annotated[list[Scope], at_most(_MOST_SCOPES)] = Field(
        default_factory=list, description="in place of a role", json_schema_extra={"maxItems": _MOST_SCOPES}
    )
    projects: (
        Annotated[
            list[Name],
            at_most(_MOST_PROJECTS),
            AfterValidator(_some),
            Field(json_schema_extra={"minItems": 1, "maxItems": _MOST_PROJECTS}),
        ]
        | None
    ) = Field(None, description="where it holds; by default wherever the sender's own key does")
    owner: Name | None = Field(
        None, description="whose jobs and caches its jobs are; by default `name`, or with a limited key its own owner"
    )
    expires_in: Annotated[Duration, Field(le=_LONGEST_LIFE)] | None = Field(
        None, description="how long it is accepted; by default until it is revoked"
    )

    @model_validator(mode="after")
    def _check_permissions(self) -> "KeyRequest":
        if (self.role is None) == (not self.scopes):
            raise ValueError("give either a role or scopes: a role is one of " + ", ".join(Role))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        described: dict[str, Any] = handler.resolve_ref_schema(handler(schema))
        null = {"type": "null"}
        described["oneOf"] = [
            {"required": ["role"], "properties": {"role": {"not": null}, "scopes": {"maxItems": 0}}},
            {"required": ["scopes"], "properties": {"role": null, "scopes": {"minItems": 1}}},
        ]
        return described


class RotationRequest(StrictModel):
    """How a key is given another secret."""

    overlap: Annotated[NonNegativeDuration, Field(le=LONGEST_OVERLAP)] = Field(
        86_400.0, description="how long the present secret is accepted too, at most 30 days; 0: not any more"
    )


class KeyView(Shown):
    """A key, without its secret."""

    id: str = Field(pattern=f"^{ID_PATTERN}$", description="the part of the key that names it")
    name: str
    owner: str = Field(description="the owner of the jobs that are submitted with it")
    role: Role | None = Field(strict=False)
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(description="what it may do, by its role or one by one")
    projects: list[str] | None = Field(description="where it holds; null for everywhere")
    created: Instant
    created_by: str
    expires: Instant | None
    last_used: Instant | None = Field(description="at most a minute before its last use")
    revoked: Instant | None
    previous_until: Instant | None = Field(description="until when the secret before the last rotation is accepted")
    kind: KeyKind = Field(strict=False, description="`session` for a browser that has signed in")
    made_from: str | None = Field(description="the id of the key that it has signed in with, which ends it")


class NewKeyView(KeyView):
    """A key that has just been made or rotated."""

    key: str = Field(description="the key itself, which is not shown again")


class IdentityView(Shown):
    """Who sends a request, and what they may do."""

    name: str
    scopes: list[Annotated[Scope, Field(strict=False)]]
    projects: list[str] | None = Field(description="where the scopes hold; null for everywhere")
    memberships: dict[str, Role] = Field(description="the roles by membership of projects, which count besides")
    key: KeyView


class SignInView(Shown):
    """Where people sign in for this server."""

    issuer: str = Field(description="the URL of the OpenID Connect issuer")
    client_id: str = Field(description="the name of this product there")
    scopes: list[str] = Field(description="what to ask the issuer for")


def key_on_wire(key: Key) -> dict[str, Any]:
    """Return a key as the API shows it."""
    return {
        "id": key.id,
        "name": key.name,
        "owner": key.owner,
        "role": key.role,
        "scopes": sorted(key.all_scopes),
        "projects": _names(key.projects),
        "created": to_rfc3339(key.created_time),
        "created_by": key.created_by,
        "expires": _instant(key.expires),
        "last_used": _instant(key.last_used_time),
        "revoked": _instant(key.revoked_time),
        "previous_until": _instant(key.previous_until),
        "kind": key.kind,
        "made_from": key.made_from,
    }


def identity_on_wire(identity: Identity, key: Key) -> dict[str, Any]:
    """Return the sender of a request as the API shows it."""
    return {
        "name": identity.name,
        "scopes": sorted(identity.scopes),
        "projects": _names(identity.projects),
        "memberships": dict(identity.memberships),
        "key": key_on_wire(key),
    }


def _names(projects: frozenset[str] | None) -> list[str] | None:
    return None if projects is None else sorted(projects)


def _instant(time: datetime | None) -> str | None:
    return None if time is None else to_rfc3339(time)
