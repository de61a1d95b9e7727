"""Detects a Rust project, and plans the steps that build and test it."""

import os
import re
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ci_server.detection.detected import HOME, OWN_HOME, SETUP, Detected, lines, say, shell_steps
from ci_server.detection.downloads import FUNCTIONS, Cache, installing, with_downloads
from ci_server.detection.reading.project_files import ProjectFiles

MANIFEST, LOCK = "Cargo.toml", "Cargo.lock"
_TOOLCHAINS = ("rust-toolchain.toml", "rust-toolchain")
_CONFIGURATIONS = (".cargo/config.toml", ".cargo/config")
_RELEASE = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}(?:\.[0-9]{1,3})?")
_MOST_MEMBERS = 300
_MOST_FOLDERS = 5000
_TARGETS = ("src/lib.rs", "src/main.rs", "build.rs")
_TARGET_FOLDERS = ("src/bin", "tests", "examples", "benches")
_PREAMBLE = OWN_HOME + (
    f'export CARGO_HOME="${{CARGO_HOME:-{HOME}/ci-cargo}}" CARGO_TARGET_DIR="{HOME}/ci-target" CARGO_TERM_COLOR=never'
)
_CACHES = (
    Cache("cargo", "$CARGO_HOME/registry/cache", is_needed=True),
    Cache("cargo-index", "$CARGO_HOME/registry/index", is_needed=True),
    Cache("cargo-git", "$CARGO_HOME/git/db", is_needed=True),
)


def looks_like_rust(directory: Path) -> bool:
    """Return whether the directory has a Cargo package or workspace."""
    return (directory / MANIFEST).is_file()


def rust_steps(directory: Path, *, prepared: bool) -> Detected:
    """Return how a Rust project is built and tested. Raises InvalidRequest."""
    project = _Project(ProjectFiles(directory))
    return project.steps(prepared)


class _Project:
    def __init__(self, files: ProjectFiles) -> None:
        self._files = files
        self._members = {name: files.toml(name) for name in islice(self._find_members(), _MOST_MEMBERS + 1)}

    def steps(self, prepared: bool) -> Detected:
        image, image_from = self._image()
        locked = " --locked" if self._files.has(LOCK) else ""
        obstacle = self._obstacle() if prepared else ""
        note = say(f"Rust: image {image} ({image_from})")
        note += say(f"no environment is prepared: {obstacle}") if obstacle else ""
        steps = {
            "build": lines(_PREAMBLE, note, f"cargo build{locked}"),
            "test": lines(_PREAMBLE, f"cargo test{locked}"),
        }
        if not prepared or obstacle or not self._has_dependencies():
            return Detected(shell_steps(steps), image=image)
        setup = {SETUP: with_downloads(lines(_PREAMBLE, self._setup()))}
        return Detected(
            shell_steps(setup | steps),
            1,
            tuple(sorted(self._inputs())),
            is_pinned=True,
            image=image,
            preambles=(FUNCTIONS,),
        )

    def _setup(self) -> str:
        """Return the text that fetches and compiles the dependencies.

        Cargo reads no manifest whose sources are missing, as they are apart from the job. So it gets empty ones there,
        in another directory, by whose name Cargo keeps their results apart from those of the real sources.
        """
        targets = sorted(self._targets())
        empty = "".join(
            f"mkdir -p {shlex.quote(os.path.dirname(name) or '.')}; echo 'fn main() {{}}' >{shlex.quote(name)}\n"
            for name in targets
        )
        compiling = "cargo test --no-run --locked && cargo build --locked"
        return lines(
            f"if [ ! -e {shlex.quote(targets[0])} ]; then",
            'ci_copy=$(mktemp -d)\ncp -a . "$ci_copy"\ncd "$ci_copy"',
            empty,
            "fi",
            installing(_CACHES, "cargo fetch --locked"),
            'if [ -z "${ci_copy-}" ]; then exit; fi',
            f'( {compiling} ) || echo "ci: dependencies are compiled in the steps"',
            'cd /; rm -rf "$ci_copy"',
        )

    def _image(self) -> tuple[str, str]:
        name = next((name for name in _TOOLCHAINS if self._files.has(name)), None)
        if name is None:
            return "rust:1", "default"
        text = self._files.text(name)
        table: Any = self._files.toml(name).get("toolchain") if "[" in text else {"channel": text.strip()}
        channel = table.get("channel") if isinstance(table, dict) else None
        if isinstance(channel, str) and _RELEASE.fullmatch(channel):
            return f"rust:{channel}", name
        return ("rustlang/rust:nightly", name) if channel == "nightly" else ("rust:1", name)

    def _obstacle(self) -> str:
        """Return why nothing can be prepared; empty if it can."""
        if not self._files.has(LOCK):
            return "there is no Cargo.lock"
        if len(self._members) > _MOST_MEMBERS:
            return f"there are more than {_MOST_MEMBERS} packages"
        if any((self._files.directory / name).is_dir() for name in ("vendor", ".cargo/registry")):
            return "vendor is part of the project"
        return "" if next(self._targets(), None) else "its packages have no sources in the usual places"

    def _has_dependencies(self) -> bool:
        return re.search(r'^\s*source = "', self._files.start(LOCK, 8 * 1024 * 1024), re.MULTILINE) is not None

    def _find_members(self) -> Iterator[str]:
        """Yield every manifest of the project: Cargo reads those of members, and those that they name by a path."""
        for number, (folder, folders, names) in enumerate(os.walk(self._files.directory)):
            folders[:] = sorted(name for name in folders if name not in ("target", "vendor") and name[0] not in "._")
            if number > _MOST_FOLDERS:
                return
            if MANIFEST in names:
                yield os.path.normpath(os.path.relpath(os.path.join(folder, MANIFEST), self._files.directory))

    def _targets(self) -> Iterator[str]:
        """Yield the files that Cargo looks for when it reads the manifests."""
        for member, manifest in self._members.items():
            folder = os.path.dirname(member)
            names = [os.path.join(folder, name) for name in (*_TARGETS, *self._named(manifest))]
            yield from (os.path.normpath(name) for name in names if name.endswith(".rs") and self._files.has(name))
            for inner in _TARGET_FOLDERS:
                for pattern in ("*.rs", "*/main.rs"):
                    for path in sorted((self._files.directory / folder / inner).glob(pattern)):
                        yield path.relative_to(self._files.directory).as_posix()

    @staticmethod
    def _named(manifest: dict[str, Any]) -> Iterator[str]:
        """Yield the paths of targets that a manifest names."""
        package = manifest.get("package")
        yield str(package.get("build", "")) if isinstance(package, dict) else ""
        for kind in ("lib", "bin", "test", "example", "bench"):
            tables = manifest.get(kind)
            for table in tables if isinstance(tables, list) else [tables]:
                yield str(table.get("path", "")) if isinstance(table, dict) else ""

    def _inputs(self) -> Iterator[str]:
        yield from self._members
        yield from (name for name in (LOCK, *_TOOLCHAINS, *_CONFIGURATIONS) if self._files.has(name))
