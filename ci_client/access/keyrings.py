"""The operating system's keyring, by the library `keyring`, which is an extra: `ci-server[keyring]`."""

from typing import Any, Final

from ci_client.errors import CredentialsUnusable

SERVICE: Final = "ci-server"
"""Under which name the keyring has the keys; the user's name there is the server."""
_MISSING: Final = "the library keyring is not installed: pip install 'ci-server[keyring]'"


def put(server: str, key: str) -> None:
    """Keep a key, in the place of an earlier one. Raises CredentialsUnusable, also where there is no keyring."""
    library = _library()
    backend = library.get_keyring()
    if backend.priority <= 0:
        raise CredentialsUnusable(
            "this system has no keyring that the library keyring can use (`keyring diagnose` says what it finds): "
            "leave --keyring out to keep the key in a file"
        )
    try:
        backend.set_password(SERVICE, server, key)
    except Exception as exc:  # Backends raise errors of their own.
        raise _unusable("does not take the key", exc) from exc


def get(server: str) -> str:
    """Return the key of a server. Raises CredentialsUnusable, also where the keyring has none."""
    try:
        key = _library().get_keyring().get_password(SERVICE, server)
    except CredentialsUnusable:
        raise
    except Exception as exc:
        raise _unusable("does not give the key", exc) from exc
    if key is None:
        raise CredentialsUnusable(f"the keyring has no key for {server} any more: run `ci login` again")
    return str(key)


def remove(server: str) -> None:
    """Remove a key, if the keyring has it. Raises CredentialsUnusable."""
    backend = _library().get_keyring()
    try:
        if backend.get_password(SERVICE, server) is not None:
            backend.delete_password(SERVICE, server)
    except Exception as exc:
        raise _unusable("does not remove the key", exc) from exc


def _library() -> Any:
    try:
        import keyring
    except ImportError:
        raise CredentialsUnusable(_MISSING) from None
    return keyring


def _unusable(what: str, exc: Exception) -> CredentialsUnusable:
    return CredentialsUnusable(f"the keyring {what}: {exc or type(exc).__name__}; is it locked?")
