"""The certificates that jobs trust: the host's bundle, where a company or its proxy has an authority of its own."""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from ci_common.errors import SettingsError
from ci_controller.runtime.docker.containers import Mount

_DRAFT = ".draft-"
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
    content = bundle.read_bytes()
    put_whole(io.BytesIO(content), target, mode=0o644)
    return hashlib.sha256(content).hexdigest()


def put_whole(source: IO[bytes], target: Path, *, mode: int) -> None:
    """Put the rest of `source` at `target`, which is replaced as a whole. Raises OSError."""
    # A name of its own, since several controllers of one installation may start at once.
    prefix = f"{target.name}{_DRAFT}{os.getpid()}-"
    descriptor, draft = tempfile.mkstemp(prefix=prefix, dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            shutil.copyfileobj(source, file)
            os.fchmod(file.fileno(), mode)
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise


def remove_drafts(target: Path) -> None:
    """Remove what processes that were killed in `put_whole` have left beside `target`. Raises OSError."""
    for draft in target.parent.glob(f"{target.name}{_DRAFT}*"):
        # Where the pid is of another namespace, a draft in use may go: then its writer fails this once.
        pid = draft.name.partition(_DRAFT)[2].partition("-")[0]
        if not Path("/proc", pid).exists():
            draft.unlink(missing_ok=True)


class Certificates:
    """The bundle that jobs trust, if there is one, and the copy of it that containers see."""

    def __init__(self, source: Path | None, copy: Path) -> None:
        self._source = source
        self._copy = copy
        self.digest = ""
        """The SHA-256 of the copy; empty before it is made."""

    def copy(self) -> None:
        """Make the copy. Raises OSError."""
        if self._source is not None:
            remove_drafts(self._copy)
            self.digest = copy_bundle(self._source, self._copy)

    def are_missing(self) -> bool:
        """Return whether the copy has to be made again."""
        return self._source is not None and not self._copy.exists()

    def variables(self) -> dict[str, str]:
        """Return the variables that make usual programs trust the bundle."""
        return {} if self._source is None else dict.fromkeys(_VARIABLES, LOCAL_BUNDLE)

    def mounts(self, *, has_own: bool) -> list[Mount]:
        """Return what is mounted into a container, whose image may have certificates of its own."""
        targets = [LOCAL_BUNDLE, SYSTEM_BUNDLE] if has_own else [LOCAL_BUNDLE]
        return [] if self._source is None else [Mount(self._copy, target, read_only=True) for target in targets]
