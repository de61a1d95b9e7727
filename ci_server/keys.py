"""The endpoints of keys. No key makes or changes one that may do more than itself."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from starlette.responses import Response

from ci_common.access.identity import SCOPES_OF, Identity, Role, Scope
from ci_common.access.keys import Key, KeyKind, key_of, new_secret
from ci_common.errors import FieldError, KeyConflict, KeyNotFound
from ci_common.parsing.models import invalid
from ci_common.parsing.text import shown
from ci_common.times import to_rfc3339, utc_now
from ci_common.wire.access.keys import (
    IdentityView,
    KeyRequest,
    KeyView,
    NewKeyView,
    RotationRequest,
    SignInView,
    identity_on_wire,
    key_on_wire,
)
from ci_persistence.stores.access.keys import Rotation
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, RateClass, Reach, json_answer, model_body
from ci_server.http.refusals import ScopeMissing, hidden
from ci_server.http.requests import NoQuery
from ci_server.http.responses import Document, list_document

Memberships = Mapping[str, tuple[tuple[str, Role], ...]]
"""The memberships of owners."""
_NOT_STORED: Final = {"Cache-Control": "no-store"}


async def list_keys(call: Call[NoQuery, None]) -> Response:
    storage = call.services.storage
    memberships = await storage.projects.memberships()
    keys = [key for key in await storage.keys.list() if _governs(call.identity, key, memberships)]
    return await list_document([key_on_wire(key) for key in keys], _NOT_STORED)


async def create_key(call: Call[NoQuery, KeyRequest]) -> Response:
    secret = new_secret()
    key = _requested(call.identity, call.body, secret.id, secret.digest)
    owners = {key.owner: await call.services.storage.projects.memberships_of(key.owner)}
    if not _governs(call.identity, key, owners):
        raise ScopeMissing(
            f"{key.owner} is a member of projects with more scopes than {call.identity.name} has there, and the key "
            "would have them too: name projects or scopes for it"
        )
    call.services.concern(target=f"/keys/{key.id}")
    await call.services.storage.keys.add(key)
    call.services.authentication.forget(key.id)
    return Document({**key_on_wire(key), "key": secret.key}, 201, _NOT_STORED)


async def get_key(call: Call[NoQuery, None]) -> Response:
    return Document(key_on_wire(await _found(call)), headers=_NOT_STORED)


async def revoke_key(call: Call[NoQuery, None]) -> Response:
    key = await _found(call)
    await call.services.storage.keys.revoke(key.id, utc_now())
    call.services.authentication.forget(key.id)
    return Response(status_code=204)


async def rotate_key(call: Call[NoQuery, RotationRequest]) -> Response:
    return await _rotated(call, await _found(call))


async def get_own_key(call: Call[NoQuery, None]) -> Response:
    key = await _own(call)
    return Document(identity_on_wire(call.identity, key), headers=_NOT_STORED)


async def rotate_own_key(call: Call[NoQuery, RotationRequest]) -> Response:
    return await _rotated(call, await _own(call))


async def create_own_key(call: Call[NoQuery, None]) -> Response:
    if call.identity.key_id is not None:
        raise KeyConflict("the request was sent with a key; only the token of an issuer is changed for one")
    secret, now, sender = new_secret(), utc_now(), call.identity
    expires = now + timedelta(seconds=call.services.settings.sign_in_lifetime)
    key = key_of(sender, secret, name=f"sign-in of {sender.name}", now=now, expires=expires)
    call.services.concern(target=f"/keys/{key.id}")
    await call.services.storage.keys.add(key)
    call.services.authentication.forget(key.id)
    return Document({**key_on_wire(key), "key": secret.key}, 201, _NOT_STORED)


async def list_issuers(call: Call[NoQuery, None]) -> Response:
    found = [
        {"issuer": each.issuer, "client_id": each.client_id, "scopes": list(each.request)}
        for each in call.services.authentication.issuers
    ]
    return await list_document(found, {})


def _requested(sender: Identity, request: KeyRequest, key_id: str, digest: str) -> Key:
    """Return the key to be made. Raises InvalidRequest, and ScopeMissing for one that may do more than the sender."""
    role, scopes, now = request.role, frozenset(request.scopes), utc_now()
    projects = sender.projects if request.projects is None else frozenset(request.projects)
    if sender.projects is not None and (foreign := (projects or frozenset()) - sender.projects):
        raise invalid(
            "the body",
            FieldError("projects", f"your own key does not hold for {', '.join(map(shown, sorted(foreign)))}"),
        )
    if sender.projects is not None and request.owner not in (None, sender.name):
        raise invalid("the body", FieldError("owner", "a key that holds for some projects makes keys of its own owner"))
    owner = request.owner or (request.name if sender.projects is None else sender.name)
    given = (scopes if role is None else SCOPES_OF[role]) - {Scope.KEYS_OWN}
    if beyond := given - sender.scopes_throughout(projects):
        raise ScopeMissing(f"{sender.name} cannot give scopes that it does not have: {', '.join(sorted(beyond))}")
    return Key(
        id=key_id,
        name=request.name,
        owner=owner,
        role=role,
        scopes=scopes,
        projects=projects,
        digest=digest,
        created_time=now,
        created_by=sender.name,
        expires=None if request.expires_in is None else now + timedelta(seconds=request.expires_in),
    )


def _governs(sender: Identity, key: Key, memberships: Memberships) -> bool:
    """Return whether the sender may see and change a key: one that may do no more than its own."""
    if not key.all_scopes - {Scope.KEYS_OWN} <= sender.scopes_throughout(key.projects):
        return False
    if sender.projects is not None and (key.projects is None or not key.projects <= sender.projects):
        return False
    of_owner = key.identity().with_memberships(memberships.get(key.owner, ())).memberships
    return all(SCOPES_OF[role] <= sender.scopes_in(project) | {Scope.KEYS_OWN} for project, role in of_owner)


async def _found(call: Call[Any, Any]) -> Key:
    """Return the key that the path names. Raises KeyNotFound, also for one that its sender may not see."""
    key_id = call.request.path_params["key_id"]
    storage = call.services.storage
    key = await storage.keys.get(key_id)
    memberships = {} if key is None else {key.owner: await storage.projects.memberships_of(key.owner)}
    if key is None or not _governs(call.identity, key, memberships):
        raise hidden(KeyNotFound(f"there is no key {shown(key_id)}"), is_there=key is not None)
    return key


async def _own(call: Call[Any, Any]) -> Key:
    key = await call.services.authentication.find(call.identity)
    if key is None:
        raise KeyNotFound("the request was sent without a key")
    return key


async def _rotated(call: Call[Any, RotationRequest], key: Key) -> Response:
    secret, now, overlap = new_secret(key.id), utc_now(), timedelta(seconds=call.body.overlap)
    if not await call.services.storage.keys.rotate(key.id, Rotation(secret.digest, now, overlap)):
        raise KeyConflict(_why_not(await call.services.storage.keys.get(key.id)))
    call.services.authentication.forget(key.id)
    changed = replace(key, digest=secret.digest, previous_digest=key.digest, previous_until=now + overlap)
    return Document({**key_on_wire(changed), "key": secret.key}, headers=_NOT_STORED)


def _why_not(key: Key | None) -> str:
    if key is None or key.revoked_time is not None:
        return "the key has been revoked; make another one"
    if key.kind is KeyKind.SESSION:
        return "this is the session of a browser, which has no secret to change: sign in again instead"
    until = "later" if key.previous_until is None else to_rfc3339(key.previous_until)
    return (
        f"the secret before the last rotation is still accepted, until {until}; rotate the key after that, or with an "
        "overlap of 0, which ends both secrets at once"
    )


_ROTATED: Final = json_answer(NewKeyView, "The key with its new secret.")
_ROTATION: Final = model_body(RotationRequest, examples={"an hour": {"overlap": "1h"}}, required=False)

ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/keys",
        handler=list_keys,
        summary="List the keys",
        description="the [keys](security.md#keys) that may do no more than the own one, without their secrets",
        answers={200: json_answer(list[KeyView], "The keys, the newest first.")},
        scope=Scope.KEYS_ADMIN,
        rate_class=RateClass.READ,
        limits=Reach.VISIBLE,
    ),
    Endpoint(
        method="POST",
        path="/keys",
        handler=create_key,
        body=model_body(
            KeyRequest,
            examples={
                "a person": {"name": "alice", "role": "developer"},
                "a program": {
                    "name": "nightly",
                    "scopes": ["jobs:read", "jobs:write"],
                    "projects": ["website"],
                    "expires_in": "90d",
                },
            },
        ),
        summary="Make a key",
        description=(
            "`name`, and either `role` or `scopes`; optionally `projects`, `owner` and `expires_in`; 201 the key with "
            "`key`, which is shown only now. It cannot do more than the key that it is made with"
        ),
        answers={201: json_answer(NewKeyView, "The new key.")},
        scope=Scope.KEYS_ADMIN,
        rate_class=RateClass.WRITE,
        limits=Reach.NEW,
    ),
    Endpoint(
        method="GET",
        path="/keys/own",
        handler=get_own_key,
        summary="Get the key of this request",
        description="who the sender is: `name`, `scopes`, `projects`, and the `key` that the request was sent with",
        answers={200: json_answer(IdentityView, "The sender.")},
        errors=(KeyNotFound,),
        scope=Scope.KEYS_OWN,
        rate_class=RateClass.READ,
        limits=Reach.OWN,
    ),
    Endpoint(
        method="POST",
        path="/keys/own",
        handler=create_own_key,
        summary="Change the token of an issuer for a key",
        description=(
            "for people who have [signed in](sign-in.md#people) with an OpenID Connect issuer: 201 a key that may do "
            "what the token may, for `CI_SIGN_IN_LIFETIME`; its `key` is shown only now. With a key: 409"
        ),
        answers={201: json_answer(NewKeyView, "The new key.")},
        errors=(KeyConflict,),
        scope=Scope.KEYS_OWN,
        rate_class=RateClass.WRITE,
        limits=Reach.OWN,
    ),
    Endpoint(
        method="GET",
        path="/sign-in",
        handler=list_issuers,
        summary="List where people sign in",
        description="the OpenID Connect issuers at which people [sign in](sign-in.md#people) with `ci login --oidc`",
        answers={200: json_answer(list[SignInView], "The issuers.")},
        scope=None,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="POST",
        path="/keys/own/rotate",
        handler=rotate_own_key,
        body=_ROTATION,
        summary="Give the key of this request another secret",
        description="as `POST /keys/{key_id}/rotate`, for the key that the request was sent with",
        answers={200: _ROTATED},
        errors=(KeyNotFound, KeyConflict),
        scope=Scope.KEYS_OWN,
        rate_class=RateClass.WRITE,
        limits=Reach.OWN,
    ),
    Endpoint(
        method="GET",
        path="/keys/{key_id}",
        handler=get_key,
        summary="Get a key",
        description="one of them",
        answers={200: json_answer(KeyView, "The key.")},
        errors=(KeyNotFound,),
        scope=Scope.KEYS_ADMIN,
        rate_class=RateClass.READ,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="DELETE",
        path="/keys/{key_id}",
        handler=revoke_key,
        summary="Revoke a key",
        description=(
            "204, the same again too: the key is not accepted any more, by other server processes within 2 seconds; "
            "it stays in the list"
        ),
        answers={204: Answer("It is revoked.")},
        errors=(KeyNotFound,),
        scope=Scope.KEYS_ADMIN,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
    Endpoint(
        method="POST",
        path="/keys/{key_id}/rotate",
        handler=rotate_key,
        body=_ROTATION,
        summary="Give a key another secret",
        description=(
            "the key with a new secret in `key`, which is shown only now. The present secret is accepted for "
            "`overlap` too, by default `24h`; 409 while an earlier one is, unless `overlap` is 0"
        ),
        answers={200: _ROTATED},
        errors=(KeyNotFound, KeyConflict),
        scope=Scope.KEYS_ADMIN,
        rate_class=RateClass.WRITE,
        limits=Reach.ONE,
    ),
)
