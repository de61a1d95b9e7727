"""The path below which a reverse proxy serves this server, such as `/ci`.

Whether the proxy passes the prefix on or takes it off, from here on the scope is as ASGI has it: `root_path` is the
prefix, and `path` begins with it.
"""

from collections.abc import Iterable, MutableSequence

from starlette.types import Scope

from ci_common.errors import SettingsError

_LOCATION = b"location"


def check_prefix(prefix: str, paths: Iterable[str]) -> None:
    """Raise SettingsError for a prefix that one of the server's own paths begins with."""
    first = prefix.split("/")[1] if prefix else ""
    if first and any(path.split("/")[1] == first for path in paths):
        raise SettingsError(
            f"CI_ROOT_PATH is {prefix}, and /{first} is a path of the server itself, so the two could not be told "
            "apart; take another prefix, as in /ci"
        )


def apply_prefix(scope: Scope, prefix: str) -> None:
    """Have the scope say the prefix. One that the server that runs the application has been told wins."""
    if not prefix or scope["type"] != "http" or scope.get("root_path"):
        return
    scope["root_path"] = prefix
    if scope["path"] == prefix:
        scope["path"] += "/"
        scope["raw_path"] = scope["path"].encode()
    elif not scope["path"].startswith(f"{prefix}/"):
        raw = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
        scope["path"], scope["raw_path"] = prefix + scope["path"], prefix.encode() + raw


def prefix_of(scope: Scope) -> str:
    """Return the prefix of the server's paths as browsers see them; empty where it has none."""
    prefix: str = scope.get("root_path", "")
    return prefix


def with_prefix(scope: Scope, headers: MutableSequence[tuple[bytes, bytes]]) -> None:
    """Have an answer's `Location` begin with the prefix if it is a path of this server."""
    prefix = prefix_of(scope)
    if not prefix:
        return
    for index, (name, value) in enumerate(headers):
        if name.lower() == _LOCATION and value.startswith(b"/"):
            headers[index] = name, prefix.encode() + value
