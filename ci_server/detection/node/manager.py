"""The package manager of a Node.js project: which one, in which version, and its commands."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from ci_server.detection.detected import HOME, lines
from ci_server.detection.downloads import Cache
from ci_server.detection.reading.project_files import ProjectFiles

Name = Literal["npm", "pnpm", "yarn"]

LOCKS: dict[str, Name] = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "npm-shrinkwrap.json": "npm",
    "package-lock.json": "npm",
}
"""Lock files by the manager that reads them; the first one counts where several are there."""
_NAMED = re.compile(r"(npm|pnpm|yarn)@([0-9]{1,3}(?:\.[0-9A-Za-z-]{1,40}){0,6})(?:\+[0-9A-Za-z.]{1,200})?")
_HEAD = 64 * 1024
_TOOLS = "ci-tools"
_NPM = Cache("npm", f"{HOME}/ci-npm-cache", "npm_config_cache")
_COREPACK = Cache("corepack", f"{HOME}/{_TOOLS}/corepack", is_needed=True)
_PNPM_STORE = f"{HOME}/ci-pnpm-store"
_PNPM = Cache("pnpm", _PNPM_STORE, is_needed=True)
_YARN = Cache("yarn", f"{HOME}/ci-yarn-cache", "YARN_CACHE_FOLDER")
_BERRY = Cache("yarn-berry", f"{HOME}/ci-yarn-global", "YARN_GLOBAL_FOLDER")
_PRUNE = f'[ -z "$(find "{_PNPM_STORE}" -type f -links +1 | head -n 1)" ] || pnpm store prune >/dev/null 2>&1 || :'
"""Takes from the store what is not installed, which shows by links: where files were copied, all would be taken."""


@dataclass(frozen=True, slots=True)
class Manager:
    """A package manager."""

    name: Name
    version: str
    """As the registry's packages are named; empty for that of the image."""
    is_named: bool
    """The field `packageManager` names it, so Corepack provides it."""
    lock: str | None
    """The lock file; None where the project has none."""

    @property
    def is_berry(self) -> bool:
        """Return whether this is a Yarn that is not the classic one."""
        return self.name == "yarn" and not self.version.startswith("1")

    @property
    def install(self) -> str:
        """The command that installs what the lock file says, or, without one, what is newest."""
        if self.name == "npm":
            return "npm ci --no-audit --no-fund" if self.lock else "npm install --no-audit --no-fund"
        frozen = "--immutable" if self.is_berry else "--frozen-lockfile"
        silent = " --non-interactive" if self.name == "yarn" and not self.is_berry else ""
        return f"{self.name} install{silent} {frozen if self.lock else f'--no-{frozen[2:]}'}"

    def run(self, script: str) -> str:
        """Return the command that runs a script of the project."""
        return f"{self.name} test" if script == "test" else f"{self.name} run {script}"

    @property
    def preamble(self) -> str:
        """The shell text with which each step finds the manager."""
        if self.name == "npm":
            return ""
        tools = f"{HOME}/{_TOOLS}"
        return lines(
            f'export PATH="{tools}/bin:$PATH" COREPACK_HOME="{tools}/corepack" COREPACK_ENABLE_DOWNLOAD_PROMPT=0',
            f'export npm_config_store_dir="{_PNPM_STORE}"' if self.name == "pnpm" else "",
            "export YARN_ENABLE_GLOBAL_CACHE=false YARN_ENABLE_TELEMETRY=0" if self.is_berry else "",
        )

    @property
    def caches(self) -> list[Cache]:
        """Where `provide` and `install` download to. Other managers than npm may be downloaded by it."""
        own = {"npm": [], "pnpm": [_PNPM], "yarn": [_BERRY if self.is_berry else _YARN]}[self.name]
        return [_NPM, *([_COREPACK] if self.is_named and self.name != "npm" else []), *own]

    @property
    def clean(self) -> str:
        """The shell text that removes what the caches have of earlier installations."""
        return _PRUNE if self.name == "pnpm" else ""

    @property
    def provide(self) -> str:
        """The shell text that gets the manager, where the image may lack it."""
        if self.name == "npm":
            return ""
        package = "@yarnpkg/cli-dist" if self.is_berry else self.name
        install = (
            f'npm install --global --force --no-audit --no-fund --prefix "{HOME}/{_TOOLS}" {package}@{self.version}'
        )
        if self.is_named:
            # Corepacks of older images do not know the keys of today's registry.
            enable = f'mkdir -p "{HOME}/{_TOOLS}/bin" && corepack enable --install-directory "{HOME}/{_TOOLS}/bin"'
            return f"{{ {enable} && {self.name} --version; }} >/dev/null 2>&1 || {install}"
        return f"command -v yarn >/dev/null || {install}" if self.version == "1" else install


def find_manager(files: ProjectFiles, manifest: dict[str, Any]) -> Manager:
    """Return the package manager that `packageManager` names, or else that of the lock file."""
    named = manifest.get("packageManager")
    found = _NAMED.fullmatch(named) if isinstance(named, str) else None
    locks = [lock for lock in LOCKS if files.has(lock)]
    if found is not None and found[1] != "npm":
        name: Name = "pnpm" if found[1] == "pnpm" else "yarn"
        return Manager(name, found[2], True, next((lock for lock in locks if LOCKS[lock] == name), None))
    if found is not None:
        locks = [lock for lock in locks if LOCKS[lock] == "npm"]
    if not locks:
        return Manager("npm", "", False, None)
    name = LOCKS[locks[0]]
    return Manager(name, _version(files, name), False, locks[0])


def _version(files: ProjectFiles, name: Name) -> str:
    """Return the major version that the lock file is from."""
    if name == "npm":
        return ""
    if name == "yarn":
        head = files.start("yarn.lock", _HEAD)
        found = re.search(r"^__metadata:\s*\n\s+version: ([0-9]{1,3})", head, re.MULTILINE)
        return "1" if found is None else "4" if int(found[1]) >= 8 else "3"
    found = re.search(r"^lockfileVersion: '?([0-9]{1,3})", files.start("pnpm-lock.yaml", _HEAD), re.MULTILINE)
    if found is not None and int(found[1]) < 9:
        return "8" if int(found[1]) == 6 else "7"
    # Since version 10, settings are in this file; before, it only had the packages.
    keys = re.findall(r"^([A-Za-z]+):", files.text("pnpm-workspace.yaml"), re.MULTILINE)
    return "10" if set(keys) - {"packages", "catalog", "catalogs"} else "9"
