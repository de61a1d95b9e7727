"""The certificates that jobs trust: the host's bundle, where a company or its proxy has an authority of its own."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ci_common.settings import SettingsError

_NAMING = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")

LOCAL_BUNDLE = "/usr/local/share/ca-certificates/ci-server.crt"
"""Where every job has the bundle. `update-ca-certificates` takes it from there when a job installs ca-certificates."""
SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""Covered by the bundle where the image has it: some programs read nothing else. Never where the image has it not,
because ca-certificates cannot be installed over a mount."""


def find_bundle(setting: str, environ: Mapping[str, str]) -> Path | None:
    """Return the file that `setting` (CI_CA_BUNDLE: `auto`, `none` or a path) means, or None.

    Raises SettingsError where a path is given and no file is there.
    """
    if setting == "none":
        return None
    if setting == "auto":
        return next((Path(environ[name]) for name in _NAMING if Path(environ.get(name, "")).is_file()), None)
    bundle = Path(setting)
    if not bundle.is_file():
        raise SettingsError(f"CI_CA_BUNDLE={setting!r}: there is no such file; give a file, auto or none")
    return bundle


def copy_bundle(bundle: Path, target: Path) -> str:
    """Put a copy at `target`, readable for every user, and return its SHA-256.

    The engine mounts the copy: it lies where the engine sees it even if we run in a container, and an SELinux label
    that the mount needs does not change the host's own file.
    """
    # A name of its own, since several controllers of one installation may start at once.
    descriptor, draft = tempfile.mkstemp(prefix=target.name, dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            content = bundle.read_bytes()
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise
    return hashlib.sha256(content).hexdigest()


def variables() -> dict[str, str]:
    """Return the variables that make usual programs trust the bundle."""
    return dict.fromkeys(_VARIABLES, LOCAL_BUNDLE)
