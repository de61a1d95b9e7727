"""The user's keys, one for each server: CI_TOKEN, or what `ci login` has kept.

A file that only the user can read has the keys, or says that the keyring has them.
"""

import json
import os
import stat
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ci_client.errors import CredentialsUnusable, NotWritten

_VARIABLES = ("CI_TOKEN", "CI_API_KEY")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PORTS = {"http": 80, "https": 443}
_IN_KEYRING: Final = {"kept": "keyring"}
"""What the file has in the place of a key that the keyring has."""


class InKeyring(Enum):
    """Says that the keyring has a key."""

    YES = True


IN_KEYRING: Final = InKeyring.YES


def key_for(server_url: str) -> str | None:
    """Return the key for a server: that of the environment, else the kept one; None if there is none.

    Over a Unix socket only a kept one is sent, since the environment's is meant for a server in the network. Raises
    CredentialsUnusable.
    """
    if not server_url.startswith("unix:"):
        for name in _VARIABLES:
            if value := os.environ.get(name, "").strip():
                return value
    return kept_key(server_url)


def checked_key(key: str | None) -> str | None:
    """Return a key that is to be sent. Raises CredentialsUnusable if it is none that a server has given."""
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise CredentialsUnusable("the key has characters that no key has; make sure that it was copied as a whole")
    return key


def kept_key(server_url: str) -> str | None:
    """Return the key that `keep_key` has kept for a server, or None. Raises CredentialsUnusable."""
    origin = _origin(server_url)
    kept = _read().get(origin)
    if not isinstance(kept, InKeyring):
        return kept
    from ci_client.access import keyrings  # Most users have none.

    return keyrings.get(origin)


def is_in_keyring(server_url: str) -> bool:
    """Return whether the keyring has the key for a server. Raises CredentialsUnusable."""
    return _read().get(_origin(server_url)) is IN_KEYRING


def keep_key(server_url: str, key: str, *, in_keyring: bool = False) -> Path:
    """Keep a key for a server, in the place of an earlier one, and return the file that has it, or says where it is.

    Raises NotWritten, CredentialsUnusable.
    """
    from ci_client.access import keyrings  # Most users have none.

    kept, origin = _read(), _origin(server_url)
    before = kept.get(origin)
    if in_keyring:
        keyrings.put(origin, key)
    path = _write({**kept, origin: IN_KEYRING if in_keyring else key})
    if before is IN_KEYRING and not in_keyring:
        keyrings.remove(origin)
    return path


def forget_key(server_url: str) -> bool:
    """Forget the key for a server. Return whether there was one. Raises CredentialsUnusable, NotWritten."""
    from ci_client.access import keyrings  # Most users have none.

    kept, origin = _read(), _origin(server_url)
    before = kept.pop(origin, None)
    if before is None:
        return False
    if before is IN_KEYRING:
        keyrings.remove(origin)
    _write(kept)
    return True


def config_directory() -> Path:
    """Return `$XDG_CONFIG_HOME/ci`, by default `~/.config/ci`."""
    named = os.environ.get("XDG_CONFIG_HOME", "")
    home = Path(named) if os.path.isabs(named) else Path(os.path.expanduser("~")) / ".config"
    return home / "ci"


def keys_path() -> Path:
    """Return the file with the kept keys."""
    return config_directory() / "keys.json"


def _origin(server_url: str) -> str:
    """Return what names a server, however its URL is written."""
    parts = urlsplit(server_url)
    if parts.scheme == "unix":
        return f"unix:{parts.path}"
    host = (parts.hostname or "").removesuffix(".")
    port = parts.port or _PORTS.get(parts.scheme)
    return f"{parts.scheme}://{'localhost' if host in _LOOPBACK else host}:{port}"


def _read() -> dict[str, str | InKeyring]:
    path = keys_path()
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise CredentialsUnusable(f"{path} has keys and can be read by other users: run chmod 600 {path}")
            kept: Any = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as exc:
        raise CredentialsUnusable(f"{path} cannot be read: {exc.strerror}") from exc
    except ValueError:
        raise CredentialsUnusable(f"{path} is not JSON: remove it, and run `ci login` again") from None
    if not isinstance(kept, dict):
        return {}
    return {str(name): IN_KEYRING if key == _IN_KEYRING else str(key) for name, key in kept.items()}


def _write(kept: Mapping[str, str | InKeyring]) -> Path:
    import tempfile  # Most commands write no keys.

    path = keys_path()
    written = {name: _IN_KEYRING if key is IN_KEYRING else key for name, key in kept.items()}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix="keys-", suffix=".new")  # Its mode is 0600.
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(written, indent=1, sort_keys=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as exc:
        raise NotWritten(f"{path} cannot be written: {exc.strerror}") from exc
    return path
