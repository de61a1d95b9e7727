"""The key ring: the keys that encrypt secrets, in a file outside of the database.

Each value is sealed by AES-256-GCM with the newest key and a nonce of its own, and is bound to its place (table, row
and field), so that a ciphertext that is copied to another row cannot be opened there. Earlier keys stay in the ring,
and open what they have sealed. The file is read again when it has changed, so a new key needs no restart.

A sealed text is `v1.KEY.DATA`: the id of the key, and nonce and ciphertext in base64.
"""

import base64
import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ci_common.drafts import remove_drafts
from ci_common.errors import Unavailable

_VERSION: Final = "v1"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_MOST_BYTES: Final = 1024 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class KeyRingUnusable(Unavailable):
    """The key ring is not there, cannot be read, is open to other users, or has not the key that is needed."""


@dataclass(frozen=True, slots=True)
class RingKey:
    """One key of a ring."""

    id: str
    created: str
    key: bytes

    def __repr__(self) -> str:
        return f"RingKey(id={self.id!r})"


class KeyRing:
    """The key ring in the file at `path`. Every method may raise KeyRingUnusable, and none waits for long."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[object, tuple[RingKey, ...]] | None = None

    def exists(self) -> bool:
        """Return whether there is a ring."""
        return os.path.lexists(self.path)

    def read(self) -> tuple[RingKey, ...]:
        """Return the keys, the newest last."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise KeyRingUnusable(
                f"the key ring {self.path} cannot be read ({exc.strerror}): put the file back, or name it with "
                "CI_SECRETS_KEYRING"
            ) from exc
        with open(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if state.st_mode & _OTHERS:
                raise KeyRingUnusable(f"other users can read the key ring {self.path}: run chmod 600 {self.path}")
            stamp = state.st_ino, state.st_mtime_ns, state.st_size
            if self._known is None or self._known[0] != stamp:
                self._known = stamp, _parsed(file.read(_MOST_BYTES), self.path)
        return self._known[1]

    def seal(self, value: str, place: tuple[str, ...]) -> str:
        """Return `value` encrypted for `place` by the newest key. The ring is made if there is none."""
        if not self.exists():
            self._write((_new_key(),), replace=False)
        key = self.read()[-1]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        data = nonce + AESGCM(key.key).encrypt(nonce, value.encode(), _bound(place))
        return f"{_VERSION}.{key.id}.{base64.b64encode(data).decode()}"

    def unseal(self, sealed: str, place: tuple[str, ...]) -> str:
        """Return the value that was sealed for `place`."""
        version, _, rest = sealed.partition(".")
        key_id, _, data = rest.partition(".")
        key = next((key for key in self.read() if key.id == key_id), None)
        if version != _VERSION or key is None:
            raise KeyRingUnusable(f"the key ring {self.path} has no key {key_id!r}: put the ring back that has it")
        try:
            raw = base64.b64decode(data, validate=True)
            return AESGCM(key.key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(place)).decode()
        except (InvalidTag, ValueError) as exc:
            raise KeyRingUnusable(
                f"what key {key_id} of {self.path} has sealed cannot be opened: it was changed, or belongs elsewhere"
            ) from exc

    def is_newest(self, sealed: str) -> bool:
        """Return whether the newest key has sealed this."""
        return sealed.split(".")[1:2] == [self.read()[-1].id]

    def add_key(self) -> RingKey:
        """Add a key, which encrypts from now on, and return it. The others stay."""
        key = _new_key()
        if self.exists():
            self._write((*self.read(), key), replace=True)
        else:
            self._write((key,), replace=False)
        return key

    def keep_two(self) -> int:
        """Remove all keys but the newest and the one before, which sealed what is under way; return how many."""
        keys = self.read()
        if len(keys) > 2:
            self._write(keys[-2:], replace=True)
        return max(0, len(keys) - 2)

    def _write(self, keys: tuple[RingKey, ...], *, replace: bool) -> None:
        """Write the file as a whole; without `replace`, one that another process has just made stays."""
        document = {
            "about": "The keys of the secrets of a ci-server. Keep a copy apart from the database and its backups.",
            "keys": [{"id": key.id, "created": key.created, "key": base64.b64encode(key.key).decode()} for key in keys],
        }
        draft = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.new")
        try:
            remove_drafts(self.path)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(json.dumps(document, indent=1) + "\n")
                    file.flush()
                    os.fsync(descriptor)
                if replace:
                    os.replace(draft, self.path)
                else:
                    with suppress(FileExistsError):
                        os.link(draft, self.path)
                _sync(self.path.parent)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as exc:
            raise KeyRingUnusable(f"the key ring {self.path} cannot be written: {exc.strerror}") from exc


def _sync(directory: Path) -> None:
    """Make names in a directory durable: a value that is sealed with a key that is lost is lost."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_key() -> RingKey:
    return RingKey(secrets.token_hex(4), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", secrets.token_bytes(_KEY_BYTES))


def _parsed(raw: bytes, path: Path) -> tuple[RingKey, ...]:
    try:
        keys = tuple(
            RingKey(str(each["id"]), str(each["created"]), base64.b64decode(each["key"], validate=True))
            for each in json.loads(raw)["keys"]
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise KeyRingUnusable(f"the file {path} is not a key ring, or is damaged: put a copy of it back") from exc
    if not keys or any(len(key.key) != _KEY_BYTES for key in keys):
        raise KeyRingUnusable(f"the key ring {path} has no usable key: put a copy of it back")
    return keys


def _bound(place: tuple[str, ...]) -> bytes:
    return json.dumps(place).encode()
