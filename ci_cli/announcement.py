"""How `ci serve` tells this user's other commands where it is: a file in the state directory, while it lives."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_client.errors import StateUnavailable
from ci_common.system.processes import ProcessIdentity, this_process


def state_directory() -> Path:
    """Return `$XDG_STATE_HOME/ci-server` (by default `~/.local/state/ci-server`), which need not exist yet.

    Raises StateUnavailable where neither that nor a home directory is known.
    """
    named = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "ci-server"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise StateUnavailable(
            "there is no home directory to keep anything in (HOME is unset or not absolute, and this user has none): "
            "set HOME or XDG_STATE_HOME to the absolute path of a directory"
        )
    return Path(home) / ".local" / "state" / "ci-server"


def make_state_directory() -> Path:
    """Return the state directory, made where it was not, closed to other users. Raises StateUnavailable."""
    directory = state_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StateUnavailable(
            f"the state directory {directory} cannot be made: {exc.strerror}; XDG_STATE_HOME names another place"
        ) from exc
    return directory


def _file() -> Path:
    return state_directory() / "server.json"


@contextmanager
def announced(url: str) -> Iterator[None]:
    """Announce the server at `url` for as long as the block and this process last. The last to announce is found."""
    text = json.dumps({"url": url, "process": json.loads(this_process().to_json())})
    descriptor, draft = tempfile.mkstemp(dir=make_state_directory(), prefix="server-", suffix=".new")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(draft, _file())
    try:
        yield
    finally:
        if _read() == text:
            _file().unlink(missing_ok=True)


def find_announced() -> str | None:
    """Return the URL of this user's server on this machine, or None where none lives."""
    try:
        announcement = json.loads(_read())
        process = ProcessIdentity.from_json(json.dumps(announcement["process"]))
        return str(announcement["url"]) if process.is_alive() else None
    except (ValueError, KeyError, TypeError):
        return None  # None, half of one, or another version's: as if nobody had announced anything.


def _read() -> str:
    try:
        return _file().read_text()
    except (OSError, UnicodeError, StateUnavailable):
        return ""
