"""What an installation gives to all its jobs in containers: its certificates, variables and the program uv."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_controller.runtime.docker.certificates import Certificates, find_bundle, put_whole, remove_drafts
from ci_controller.runtime.docker.containers import Mount
from ci_controller.runtime.docker.images import ImageFacts
from ci_controller.runtime.setups import find_uv

UV = "/ci-tools/uv"
"""Where a job finds it; `ci_server.detection.python.installer` uses it."""
_PLAIN_ENVIRONMENT = {
    "CI": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PYTHONUNBUFFERED": "1",
}


class Shared:
    """All that the jobs of one installation get, whichever image they have."""

    def __init__(self, settings: Settings, data: DataDirectory) -> None:
        """Raises SettingsError where a file that the settings name is not there."""
        self._certificates = Certificates(find_bundle(settings.ca_bundle, os.environ), data.ca_bundle)
        self._tools = Tools(data.tools, wanted=settings.installer != "pip" and settings.runtime != "process")
        self._passed = [name.strip() for name in settings.pass_env.split(",")]

    @property
    def certificates_digest(self) -> str:
        """The SHA-256 of the certificates; empty before they are copied."""
        return self._certificates.digest

    def copy(self) -> None:
        """Make the copies that containers see. Raises OSError."""
        self._certificates.copy()
        self._tools.copy()

    def are_missing(self) -> bool:
        """Return whether a copy has to be made again."""
        return self._certificates.are_missing() or self._tools.are_missing()

    def variables(self) -> dict[str, str]:
        """Return the variables that every job gets."""
        passed = {name: os.environ[name] for name in self._passed if name in os.environ}
        return _PLAIN_ENVIRONMENT | self._certificates.variables() | passed

    def mounts(self, facts: ImageFacts, plan: ExecutionPlan) -> list[Mount]:
        """Return what is mounted into a container of a job of this plan, whose image has these facts."""
        return [*self._certificates.mounts(has_own=facts.has_certificates), *self._tools.mounts(plan)]


class Tools:
    """uv for the jobs of Python projects: the program that came with this installation, and its copy in `directory`.

    The engine mounts copies: they lie where the engine sees them even if we run in a container.
    """

    def __init__(self, directory: Path, *, wanted: bool) -> None:
        self._source = find_uv() if wanted else None
        try:
            self._copy = directory / f"uv-{version('uv')}"
        except PackageNotFoundError:
            self._source, self._copy = None, directory / "uv"
        self._is_there = False

    def copy(self) -> None:
        """Make the copies that are missing. Raises OSError."""
        remove_drafts(self._copy)
        if self._source is None or self._copy.exists():
            self._is_there = self._source is not None
            return
        self._copy.parent.mkdir(mode=0o700, exist_ok=True)
        with self._source.open("rb") as source:
            put_whole(source, self._copy, mode=0o755)
        self._is_there = True

    def are_missing(self) -> bool:
        """Return whether the copies have to be made again."""
        return self._is_there and not self._copy.exists()

    def mounts(self, plan: ExecutionPlan) -> list[Mount]:
        """Return what is mounted into a container of the job: nothing unless it installs Python packages."""
        wanted = self._is_there and plan.python_environment
        return [Mount(self._copy, UV, read_only=True)] if wanted else []
