"""API keys: their form, their digests, and what is stored of them.

A key is `ci_ID_SECRET`: 16 characters that name it, then 256 random bits and a checksum in letters and digits. The
checksum lets programs recognise what only looks like a key. Of the secret, only the SHA-256 of the key is stored: it is
random, so a slow hash would add nothing but a way to keep the server busy.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from ci_common.access.identity import SCOPES_OF, Identity, Role, Scope

PREFIX: Final = "ci_"
ID_PATTERN: Final = "[0-9a-z]{16}"
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARACTERS: Final = string.digits + string.ascii_lowercase
_SECRET_BYTES: Final = 32
_SECRET_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_KEY: Final = re.compile(rf"ci_({ID_PATTERN})_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}")
_NO_DIGEST: Final = "0" * 64
_LONGEST_NAME: Final = 200
_MASK: Final = "ci_***"


class KeyKind(StrEnum):
    """How a key is sent. Sent in the other way, it is not accepted."""

    KEY = "key"
    """In the header `Authorization`."""
    SESSION = "session"
    """In the cookie of a browser that has signed in."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A key that has just been made. The key itself is shown once and never stored."""

    id: str
    key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is stored."""

    id: str
    name: str
    """What people call it."""
    owner: str
    """The name of the identity that its requests have."""
    role: Role | None
    """Its permissions; None if `scopes` lists them."""
    scopes: frozenset[Scope] = frozenset()
    projects: frozenset[str] | None = None
    """The projects in which it holds; None for all."""
    digest: str
    """The SHA-256 of the key, in hexadecimal digits."""
    previous_digest: str | None = None
    """That of the secret before the last rotation."""
    previous_until: datetime | None = None
    """Until when the secret before is accepted too."""
    created_time: datetime
    created_by: str
    """The name of the identity that made it."""
    expires: datetime | None = None
    last_used_time: datetime | None = None
    """At most a minute before its last use."""
    revoked_time: datetime | None = None
    kind: KeyKind = KeyKind.KEY
    made_from: str | None = None
    """The id of the key that a browser has signed in with, which ends the session with its own end."""

    @property
    def all_scopes(self) -> frozenset[Scope]:
        """What it may do."""
        return self.scopes | {Scope.KEYS_OWN} if self.role is None else SCOPES_OF[self.role]

    def identity(self) -> Identity:
        """Return the identity of requests with this key."""
        # A key that is limited to projects has its role there and no more, unless memberships are all that it has.
        takes = self.role is Role.MEMBER or (self.role is not None and self.projects is None)
        return Identity(self.owner, self.all_scopes, self.projects, self.id, takes_memberships=takes)

    def ended(self, now: datetime) -> str | None:
        """Return why it is not accepted any more, as the end of a sentence; None if it is."""
        if self.revoked_time is not None and self.revoked_time <= now:
            return "has been revoked"
        return "has expired" if self.expires is not None and self.expires <= now else None

    def accepts(self, digest: str, now: datetime) -> bool:
        """Return whether `digest` is that of its secret, in a time that does not depend on how far they agree."""
        in_overlap = self.previous_until is not None and now < self.previous_until
        previous = self.previous_digest if in_overlap and self.previous_digest is not None else _NO_DIGEST
        is_present = hmac.compare_digest(digest, self.digest)
        is_previous = hmac.compare_digest(digest, previous)
        return is_present or (in_overlap and is_previous)


def key_of(identity: Identity, secret: NewSecret, *, name: str, now: datetime, expires: datetime) -> Key:
    """Return a key that may do what `identity` may, which has none itself."""
    return Key(
        id=secret.id,
        name=name[:_LONGEST_NAME],
        owner=identity.name,
        role=(role := identity.role),
        scopes=identity.scopes if role is None else frozenset(),
        projects=identity.projects,
        digest=secret.digest,
        created_time=now,
        created_by=identity.name,
        expires=expires,
    )


def new_secret(key_id: str | None = None) -> NewSecret:
    """Return a new key, by default with a new id."""
    key_id = key_id or "".join(secrets.choice(_ID_CHARACTERS) for _ in range(16))
    body = f"{PREFIX}{key_id}_{_in_digits(int.from_bytes(secrets.token_bytes(_SECRET_BYTES)), _SECRET_LENGTH)}"
    key = body + _checksum(body)
    return NewSecret(key_id, key, digest_of(key))


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key, as it is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def id_in(key: str) -> str | None:
    """Return the id in a key, or None if the text does not have a key's form and checksum."""
    found = _KEY.fullmatch(key)
    if found is None or not hmac.compare_digest(_checksum(key[:-_CHECKSUM_LENGTH]), key[-_CHECKSUM_LENGTH:]):
        return None
    return found[1]


def without_keys(text: str) -> str:
    """Return a text, such as a path, with `ci_***` in place of the keys that it has."""
    return _KEY.sub(_MASK, text) if PREFIX in text else text


def _checksum(body: str) -> str:
    return _in_digits(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _in_digits(number: int, length: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits.rjust(length, _DIGITS[0])
