"""Values that are kept outside of the database: variables and files of the controller, and Vault.

Who may set secrets must not be able to read the controller's own variables and files with them, so only those are given
that a setting names.
"""

import os
import stat
from pathlib import Path

from ci_common.secrets.values import MOST_BYTES
from ci_common.settings import Settings
from ci_controller.secrets.vault import ValueUnavailable, read_vault


def read_reference(reference: str, settings: Settings) -> str:
    """Return the value that a reference names. May block for some seconds. Raises ValueUnavailable."""
    kind, _, where = reference.partition(":")
    match kind:
        case "env":
            return _variable(where, settings.secrets_env)
        case "file":
            return _file(Path(where), settings.secrets_files)
        case "vault":
            return read_vault(reference, settings)
    raise ValueUnavailable(f"{kind} is no place that values are kept in; known are env, file and vault")


def _variable(name: str, allowed: str) -> str:
    patterns = [pattern.strip() for pattern in allowed.split(",")]
    if not any(
        name == pattern or (len(pattern) > 1 and pattern.endswith("*") and name.startswith(pattern[:-1]))
        for pattern in patterns
    ):
        raise ValueUnavailable(f"secrets may not refer to the variable {name}: CI_SECRETS_ENV does not name it")
    value = os.environ.get(name, "")
    if not value:
        raise ValueUnavailable(f"the controller has no variable {name}")
    return value


def _file(path: Path, allowed: str) -> str:
    """Return the content of a file, without a line end behind a single line."""
    roots = [Path(os.path.realpath(text.strip())) for text in allowed.split(",") if text.strip()]
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(root) for root in roots):
        raise ValueUnavailable(f"secrets may not refer to the file {path}: CI_SECRETS_FILES has no directory of it")
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueUnavailable(f"{path} is no regular file")
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode()
    except OSError as exc:
        raise ValueUnavailable(f"the file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise ValueUnavailable(f"the file {path} is not text in UTF-8") from None
    line = text.removesuffix("\n").removesuffix("\r")
    return text if "\n" in line else line
