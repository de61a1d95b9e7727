"""Where a test failed: the file and line in what its report says."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

LONGEST_PLACE = 1000
_PYTEST = re.compile(r"^((?!\s)[^\n:]{1,500}\.pyx?):(\d{1,9}): ", re.MULTILINE)
_PYTHON = re.compile(r'^\s+File "([^"\n]{1,500})", line (\d{1,9})', re.MULTILINE)
_JAVA = re.compile(r"^\s+at ([\w.$/<>-]{1,500})\(([\w$-]{1,200}\.(?:java|kt|groovy|scala)):(\d{1,9})\)", re.MULTILINE)
_NODE = re.compile(
    r"^\s+at (?:[^\n(]{0,300}\()?(?:file://)?([^\s():]{1,500}\.[cm]?[jt]sx?):(\d{1,9}):\d{1,9}\)?$", re.MULTILINE
)
_VITEST = re.compile(r"^\s*\u276f (?:\S{1,200} )?([^\s:]{1,500}\.[cm]?[jt]sx?):(\d{1,9}):\d{1,9}", re.MULTILINE)
_GO = re.compile(r"^\s*([\w./-]{1,300}_test\.go):(\d{1,9}):? ", re.MULTILINE)
_RUST = re.compile(r"panicked at (?:'[^'\n]{0,500}', )?([^\s:]{1,500}\.rs):(\d{1,9}):\d{1,9}")
_PHP = re.compile(r"^(/[^\n:]{1,500}\.php):(\d{1,9})$", re.MULTILINE)
_COPY = re.compile(r"^/(?:[^/\n]{1,255}/){0,30}ci-project/")
"""Where Node.js projects that are detected are tested, apart from the workspace."""
_OF_OTHERS = ("site-packages/", "dist-packages/", "node_modules/", "/vendor/", "/.cargo/", "node:internal", "<frozen")

Place = tuple[str, int]


def place_in(text: str, *, class_name: str, own_file: str | None, prefixes: Sequence[str]) -> Place | None:
    """Return file and line of the failure that `text` tells of, or None.

    `own_file` is the file of the test, where that is known. `prefixes` are names of the project's directory, without
    which its files are named.
    """
    found: list[Place] = [*_matches(_PYTEST, text)] or [*_matches(_PYTHON, text)]
    if found:
        return _best([_shown(place, prefixes) for place in reversed(found)], own_file)
    if java := _in_java(text, class_name):
        return java
    for pattern in (_NODE, _VITEST, _GO, _RUST, _PHP):
        if found := [*_matches(pattern, text)]:
            return _best([_shown(place, prefixes) for place in found], own_file)
    return None


def _matches(pattern: re.Pattern[str], text: str) -> list[Place]:
    return [(found[1], int(found[2])) for found in pattern.finditer(text)]


def _best(found: list[Place], own_file: str | None) -> Place:
    """Return the first place in the project: in the test's own file, if it is there."""
    own = [
        place for place in found if not place[0].startswith("/") and not any(part in place[0] for part in _OF_OTHERS)
    ]
    in_test = [place for place in own if place[0] == own_file]
    return (in_test or own or found)[0]


def _in_java(text: str, class_name: str) -> Place | None:
    frames = [(found[1].rpartition("/")[2], found[2], int(found[3])) for found in _JAVA.finditer(text)]
    own = [frame for frame in frames if class_name and frame[0].startswith(class_name)]
    for where, file, line in own or frames[:1]:
        packages = [part for part in where.split(".")[:-1] if part[:1].islower()]
        return "/".join([*packages, file]), line
    return None


def _shown(place: Place, prefixes: Sequence[str]) -> Place:
    return relative(place[0], prefixes), place[1]


def relative(file: str, prefixes: Sequence[str]) -> str:
    """Return the path without the directory of the project."""
    for prefix in prefixes:
        if file.startswith(f"{prefix}/"):
            return file[len(prefix) + 1 :]
    return _COPY.sub("", file).removeprefix("./")


def pytest_selector(file: str, class_name: str, name: str) -> str:
    """Return the node id of a pytest test, whose report names its file, its dotted class and itself."""
    module = ".".join(PurePosixPath(file).with_suffix("").parts)
    inner = class_name.removeprefix(module).strip(".") if class_name.startswith(module) else ""
    return "::".join([file, *(inner.split(".") if inner else []), name])
