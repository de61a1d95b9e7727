"""The state directory, and the file in it by which `ci serve` announces its URL to this user's other commands."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_client.errors import StateUnavailable
from ci_common.system.processes import ProcessIdentity, this_process


def state_directory() -> Path:
    """Return `$XDG_STATE_HOME/ci-server` (by default `~/.local/state/ci-server`), which may not exist yet.

    Raises StateUnavailable if neither that variable nor a home directory is known.
    """
    named = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "ci-server"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise StateUnavailable(
            "there is no home directory (HOME is unset or not absolute, and this user has none): set HOME or "
            "XDG_STATE_HOME to the absolute path of a directory"
        )
    return Path(home) / ".local" / "state" / "ci-server"


def make_state_directory() -> Path:
    """Return the state directory, created if missing and closed to other users. Raises StateUnavailable."""
    directory = state_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StateUnavailable(
            f"the state directory {directory} cannot be made: {exc.strerror}; set XDG_STATE_HOME to another place"
        ) from exc
    return directory


def _file() -> Path:
    return state_directory() / "server.json"


@contextmanager
def announced(url: str) -> Iterator[None]:
    """Announce the server at `url` while the block and this process last. The latest announcement wins."""
    import tempfile  # Only who announces a server needs it.

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
    """Return the URL of this user's running server on this machine, or None."""
    try:
        announcement = json.loads(_read())
        process = ProcessIdentity.from_json(json.dumps(announcement["process"]))
        return str(announcement["url"]) if process.is_alive() else None
    except (ValueError, KeyError, TypeError):
        return None  # There is no announcement, an incomplete one, or another version's.


def _read() -> str:
    try:
        return _file().read_text()
    except (OSError, UnicodeError, StateUnavailable):
        return ""
