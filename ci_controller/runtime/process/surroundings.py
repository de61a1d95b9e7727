"""What a job that runs as a process finds around it: variables, and an environment to install into."""

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_common.spec import ExecutionPlan
from ci_controller.run_directory.preparation import Setup
from ci_controller.runtime.process import python_environment
from ci_controller.runtime.setups import find_uv

KEPT = "CI_ENV"
"""The variable that names the directory which is kept of a setup."""

_EXPORTABLE = re.compile(r"(?!CI_|__ci_)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
"""What a shell can export, but for our own settings, some of which are secrets."""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACHINE = re.compile(r"HOME|USER|LOGNAME|TMPDIR|TZ|LANG|LC_[A-Z]+")
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
_CERTIFICATES_TOO = ("SSL_CERT_DIR", "GIT_SSL_CAINFO")
_PACKAGES = re.compile(
    "PIP_(CONFIG_FILE|INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|FIND_LINKS|NO_INDEX|CACHE_DIR|DEFAULT_TIMEOUT|RETRIES)|"
    "UV_(CONFIG_FILE|INDEX|DEFAULT_INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|CACHE_DIR|INSECURE_HOST|"
    "NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT)"
)
_FIXED = {
    "CI": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    # A step that installs without an environment of its own would change the machine's Python, or the controller's.
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PYTHONUNBUFFERED": "1",
}


def job_environment(environ: Mapping[str, str], *, ca_bundle: str, pass_env: Iterable[str]) -> dict[str, str]:
    """Return the variables of every job: few of the controller's `environ`, and those that `pass_env` names.

    `ca_bundle` is the setting: `auto` passes on what names certificates here, `none` does not, a path is named to all.
    """
    kept = {name: value for name, value in environ.items() if _MACHINE.fullmatch(name) or _PACKAGES.fullmatch(name)}
    passed = {name: environ[name] for name in pass_env if name in environ and _EXPORTABLE.fullmatch(name)}
    path = {"PATH": _path_without_our_own(environ.get("PATH") or _DEFAULT_PATH)}
    return kept | path | _certificates(environ, ca_bundle) | _FIXED | passed


def environment_setup(place: Path, plan: ExecutionPlan, environment: Mapping[str, str]) -> Setup | None:
    """Return what gives the job's steps an environment at `place` to install into, or None where they need none."""
    if not plan.python_environment:
        return None if plan.setup is None else Setup((), {KEPT: str(place)})
    path = {**environment, **plan.env}["PATH"]
    variables = {KEPT: str(place), "VIRTUAL_ENV": str(place), "PATH": f"{place / 'bin'}{os.pathsep}{path}"}
    if (uv := find_uv()) is not None:
        # A hard link to what uv has unpacked is a way to change what others install.
        variables |= {"CI_UV": str(uv), "UV_LINK_MODE": "copy"}
    return Setup((base_interpreter(), "-I", python_environment.__file__, str(place)), variables)


def base_interpreter() -> str:
    """Return the Python of which jobs get virtual environments."""
    return getattr(sys, "_base_executable", None) or sys.executable


def basis(plan: ExecutionPlan, environment: Mapping[str, str], trees: Path) -> str:
    """Return the digest of what a setup's outcome depends on besides the plan: machine, Python and variables."""
    interpreter = os.path.realpath(base_interpreter())
    state = os.stat(interpreter)
    release = Path("/etc/os-release")
    parts = [
        [sys.version, interpreter, state.st_size, state.st_mtime_ns],
        [platform.machine(), platform.libc_ver(), release.read_text() if release.is_file() else platform.platform()],
        dict(environment),
        [str(trees.absolute()), plan.python_environment],  # Where an environment was made is in its files.
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _certificates(environ: Mapping[str, str], ca_bundle: str) -> dict[str, str]:
    if ca_bundle == "none":
        return {}
    if ca_bundle == "auto":
        return {name: environ[name] for name in (*_CERTIFICATES, *_CERTIFICATES_TOO) if name in environ}
    return dict.fromkeys(_CERTIFICATES, str(Path(ca_bundle).absolute()))


def _path_without_our_own(path: str) -> str:
    """Leave out the controller's own virtual environment: what a job installs does not belong there."""
    if sys.prefix == sys.base_prefix:
        return path
    own = os.path.realpath(os.path.join(sys.prefix, "bin"))
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if os.path.realpath(folder) != own)
