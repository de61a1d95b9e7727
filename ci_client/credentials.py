"""The user's keys, one for each server: CI_TOKEN, or what `ci login` has kept in a file that only the user can read."""

import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ci_client.errors import CredentialsUnusable, NotWritten

_VARIABLES = ("CI_TOKEN", "CI_API_KEY")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PORTS = {"http": 80, "https": 443}


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


def kept_key(server_url: str) -> str | None:
    """Return the key that `keep_key` has kept for a server, or None. Raises CredentialsUnusable."""
    return _read().get(_origin(server_url))


def keep_key(server_url: str, key: str) -> Path:
    """Keep a key for a server, in the place of an earlier one, and return the file. Raises NotWritten."""
    return _write({**_read(), _origin(server_url): key})


def forget_key(server_url: str) -> bool:
    """Forget the key for a server. Return whether there was one. Raises CredentialsUnusable, NotWritten."""
    kept = _read()
    if kept.pop(_origin(server_url), None) is None:
        return False
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


def _read() -> dict[str, str]:
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
    return {str(name): str(key) for name, key in kept.items()} if isinstance(kept, dict) else {}


def _write(kept: dict[str, str]) -> Path:
    path = keys_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix="keys-", suffix=".new")  # Its mode is 0600.
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(kept, indent=1, sort_keys=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as exc:
        raise NotWritten(f"{path} cannot be written: {exc.strerror}") from exc
    return path
