"""Debian's packages, where this process may install them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from tests.engine.api import EngineError

_LOCK = Path(tempfile.gettempdir(), "ci-test-packages.lock")
_POLICY = Path("/usr/sbin/policy-rc.d")


def can_install() -> bool:
    """Tell whether this is Debian, and we are root."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def install_packages(names: list[str]) -> None:
    """Install those of the packages that are missing, one process at a time. Raises EngineError."""
    with _LOCK.open("a") as lock:
        flock(lock, LOCK_EX)
        _install_missing(names)


def _install_missing(names: list[str]) -> None:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\n"]
    missing = [name for name in names if not _output([*query, name]).startswith("ii")]
    if not missing:
        return
    if not can_install():
        raise EngineError(f"these packages are missing, and only root on Debian can install them: {' '.join(missing)}")
    with _services_left_alone():
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        for command in (["apt-get", "update", "-qq"], install):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise EngineError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextmanager
def _services_left_alone() -> Iterator[None]:
    """Keep packages from starting their services: the engine of the tests is a private one."""
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""
