"""Detects a Go project, and plans the steps that build and test it."""

import os
import re
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from ci_server.detection.detected import HOME, OWN_HOME, SETUP, Detected, lines, say, shell_steps
from ci_server.detection.downloads import FUNCTIONS, Cache, installing, with_downloads
from ci_server.detection.reading.project_files import ProjectFiles

MODULE, WORKSPACE = "go.mod", "go.work"
_MOST_SOURCES = 3000
_MOST_FOLDERS = 3000
_MOST_IMPORTS = 1000
_HEAD = 16 * 1024
_VERSION = re.compile(r"^(go|toolchain)\s+(?:go)?([0-9]{1,3}\.[0-9]{1,3})\S*\s*(?://.*)?$", re.MULTILINE)
_MODULE = re.compile(r"^module\s+\"?([^\s\"]+)", re.MULTILINE)
_USES = re.compile(r"^\s*use\s+(?:\(([^)]*)\)|(\S+))", re.MULTILINE)
_REPLACED = re.compile(r"=>\s*\"?(\.{1,2}/?[^\s\"]*)")
_IMPORTS = re.compile(r"^import\s*(?:\(([^)]*)\)|(?:[\w.]+\s+)?(\"[^\"\n]+\"))", re.MULTILINE)
_PATH = re.compile(r"^\s*(?:[\w.]+\s+)?\"([A-Za-z0-9._~/-]{1,300})\"", re.MULTILINE)
_FOR_SOME = re.compile(r"^//(?:go:build|\s*\+build)\s", re.MULTILINE)
_NAMED_FOR_SOME = re.compile(
    r"_(?:linux|windows|darwin|\w*bsd|js|wasm|wasip1|plan9|solaris|aix|android|ios|amd64|arm64)\b"
)
_PREAMBLE = OWN_HOME + (
    f'export GOMODCACHE="{HOME}/ci-go/modules" GOCACHE="{HOME}/ci-go/build" '
    'GOFLAGS="${GOFLAGS:+$GOFLAGS }-modcacherw"'
)
"""The caches lie outside of the workspace, and can be removed as other files can."""
_MODULES = Cache("go", f"{HOME}/ci-go/modules/cache/download", is_needed=True)


def looks_like_go(directory: Path) -> bool:
    """Return whether the directory has a Go module or workspace."""
    return any((directory / name).is_file() for name in (MODULE, WORKSPACE))


def go_steps(directory: Path, *, prepared: bool) -> Detected:
    """Return how a Go project is built and tested. Raises InvalidRequest."""
    files = ProjectFiles(directory)
    modules = _modules(files)
    image, image_from = _image(files)
    obstacle = _obstacle(files, modules) if prepared else ""
    patterns = " ".join("./..." if folder == "." else shlex.quote(f"./{folder}/...") for folder in modules or ["."])
    note = say(f"Go: image {image} ({image_from})") + (
        say(f"no environment is prepared: {obstacle}") if obstacle else ""
    )
    steps = {"build": lines(_PREAMBLE, note, f"go build {patterns}"), "test": lines(_PREAMBLE, f"go test {patterns}")}
    inputs = sorted(_inputs(files, modules)) if prepared and not obstacle else []
    if not any(name.endswith(".sum") for name in inputs):
        return Detected(shell_steps(steps), image=image)
    setup = {
        SETUP: with_downloads(lines(_PREAMBLE, installing([_MODULES], "go mod download"), _compile(files, modules)))
    }
    return Detected(shell_steps(setup | steps), 1, tuple(inputs), is_pinned=True, image=image, preambles=(FUNCTIONS,))


def _image(files: ProjectFiles) -> tuple[str, str]:
    for name in (MODULE, WORKSPACE):
        versions = dict(_VERSION.findall(files.text(name)))
        if versions:
            return f"golang:{versions.get('toolchain') or versions['go']}", name
    return "golang:1", "default"


def _modules(files: ProjectFiles) -> list[str]:
    """Return the folders of the modules that are tested: those of the workspace, or the root."""
    if not files.has(WORKSPACE):
        return ["."]
    named = (word.strip('"') for block, one in _USES.findall(files.text(WORKSPACE)) for word in (block or one).split())
    return list(dict.fromkeys(os.path.normpath(name) for name in named if not files.leads_out(name)))


def _obstacle(files: ProjectFiles, modules: list[str]) -> str:
    """Return why nothing can be prepared; empty if it can."""
    if any((files.directory / folder / "vendor").is_dir() for folder in [".", *modules]):
        return "vendor is part of the project"
    for _, path in _replaced(files, modules):
        if path is None:
            return "a replacement in go.mod is not a folder of the project"
    return ""


def _replaced(files: ProjectFiles, modules: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the folders that replace modules, as they are written, and where they are."""
    for folder in modules:
        for word in _REPLACED.findall(files.text(f"{folder}/{MODULE}")):
            yield word, files.inside(f"{word}/{MODULE}", folder)


def _inputs(files: ProjectFiles, modules: list[str]) -> Iterator[str]:
    folders = {*modules, *(os.path.dirname(path) or "." for _, path in _replaced(files, modules) if path is not None)}
    names = [WORKSPACE, f"{WORKSPACE}.sum", *(f"{folder}/{name}" for folder in folders for name in (MODULE, "go.sum"))]
    yield from {os.path.normpath(name) for name in names if files.has(name)}


def _compile(files: ProjectFiles, modules: list[str]) -> str:
    """Return the text that compiles the packages of others that the project's files import, and fails for none."""
    own = [found[1] for folder in modules if (found := _MODULE.search(files.text(f"{folder}/{MODULE}")))]
    imported = {path for folder in islice(_sources(files.directory), _MOST_SOURCES) for path in _imports(files, folder)}
    others = sorted(path for path in imported if not any(f"{path}/".startswith(f"{name}/") for name in own))
    others = [path for path in others if "internal" not in path.split("/") and path not in ("C", "unsafe")]
    if modules != ["."] or not others or len(others) > _MOST_IMPORTS:
        return ""
    packages = "".join(f'import _ "{path}"\n' for path in others)
    test = shlex.quote(f"package prepared\n{packages}")
    return lines(
        "ci_copy=$(mktemp -d)",
        'cp -a . "$ci_copy"; mkdir "$ci_copy/ci_prepared"',
        f'printf %s {test} >"$ci_copy/ci_prepared/all_test.go"',
        '( cd "$ci_copy" && go test ./ci_prepared >/dev/null 2>&1 ) ||',
        'echo "ci: dependencies are compiled in the steps"',
        'rm -rf "$ci_copy"',
    )


def _sources(directory: Path) -> Iterator[str]:
    """Yield the files that are built on every system."""
    for number, (folder, folders, names) in enumerate(os.walk(directory)):
        folders[:] = sorted(name for name in folders if name not in ("testdata", "vendor") and name[0] not in "._")
        if number > _MOST_FOLDERS:
            return
        for name in sorted(names):
            if name.endswith(".go") and not _NAMED_FOR_SOME.search(PurePosixPath(name).stem):
                yield os.path.relpath(os.path.join(folder, name), directory)


def _imports(files: ProjectFiles, name: str) -> Iterator[str]:
    text = files.start(name, _HEAD)
    if not _FOR_SOME.search(text):
        for block, one in _IMPORTS.findall(text):
            yield from _PATH.findall(block or one)
