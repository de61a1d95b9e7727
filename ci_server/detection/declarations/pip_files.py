"""Reads requirement files as pip does: what they install, which files they include, and whether they have hashes."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement

from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import invalid, is_identifier, normal_name

_MAX_FILES = 200
_MAX_LINES = 20_000
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_INCLUDE = re.compile(r"(?:-(?P<short>[rc])\s*=?\s*|--(?P<long>requirement|constraint)(?:\s*=\s*|\s+))(?P<path>.+)")
_EDITABLE = re.compile(r"(?:-e\s*=?\s*|--editable(?:\s*=\s*|\s+))(?P<what>.+)")
_OPTION_AFTER = re.compile(r"\s--?[A-Za-z]")
_SELF = re.compile(r"(?:file:(?://)?)?(?P<path>\.[./]*)(?:\[(?P<extras>[^\]]*)\])?(?:#\S*)?\s*(?:;.*)?")
_PLAIN_SELF = re.compile(r"\./?(?:\[[\w\s,.-]*\])?")
"""The project itself, in a form that every installer reads in the same way."""
_EGG = re.compile(r"#(?:.*&)?egg=([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(slots=True)
class Contents:
    """The contents of a requirement file, together with the files that it includes."""

    named: dict[str, bool] = field(default_factory=dict)
    """Packages that it installs on every machine, by normal name, and whether it names a version."""
    asked: set[str] = field(default_factory=set)
    """Packages that pip looks for in an index, under any condition."""
    paths: set[str] = field(default_factory=set)
    """Folders and files of the project that it installs."""
    pins: dict[str, str] = field(default_factory=dict)
    """The version specifiers of packages in constraints."""
    constraints: list[str] = field(default_factory=list)
    """The paths of constraint files, relative to the project."""
    has_hashes: bool = False
    """Whether any requirement has a hash; pip then requires hashes for everything in the same call."""
    files: list[str] = field(default_factory=list)
    """The file and those that it includes, relative to the project."""
    has_options: bool = False
    """Whether it has options of pip other than includes and hashes, or requirements that are not in standard form."""
    itself: str | None = None
    """How it installs the project itself: `-e`, or empty text if not editable; None if it does not."""
    extras: list[str] = field(default_factory=list)
    """The extras with which it installs the project itself, by normal name."""
    others: list[str] = field(default_factory=list)
    """The requirements in the standard's form, in order, without the project itself."""

    def installs(self, arguments: tuple[str, ...]) -> bool:
        """Return whether the file makes these arguments of pip redundant.

        If the file names a version, it decides. If it does not, arguments that name one are still needed.
        """
        what = arguments[-1]
        if what.startswith("./"):
            return _path_of(what) in self.paths
        requirement = Requirement(what)
        if requirement.extras or normal_name(requirement.name) not in self.named:
            return False
        return self.named[normal_name(requirement.name)] or not (requirement.specifier or requirement.url)


def read_pip_file(files: ProjectFiles, name: str, *, constraint: bool = False) -> Contents:
    """Return the contents of a file. Raises InvalidRequest if it is too long, with the files that it includes."""
    found = Contents()
    seen: set[tuple[str, bool]] = set()
    waiting = [(name, constraint)]
    lines = 0
    while waiting:
        path, constrains = waiting.pop()
        if (path, constrains) in seen:
            continue
        seen.add((path, constrains))
        found.files += [path] if path not in found.files and files.has(path) else []
        for line in logical_lines(files.encoded_text(path)):
            lines += 1
            waiting += _take(line, found, files, path, constrains=constrains)
        if lines > _MAX_LINES or len(seen) > _MAX_FILES:
            raise invalid(
                name, f"it has more than {_MAX_LINES} lines or {_MAX_FILES} files, with those that it includes"
            )
    return found


def logical_lines(text: str) -> Iterator[str]:
    """Yield the lines of a requirement file as pip reads them: joined at backslashes, and without comments."""
    pending: list[str] = []
    for line in text.splitlines():
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            pending.append(line.strip("\\"))
            continue
        if is_comment and pending:
            line = f" {line}"
        whole = _COMMENT.sub("", "".join((*pending, line))).strip()
        pending = []
        if whole:
            yield whole
    if whole := _COMMENT.sub("", "".join(pending)).strip():
        yield whole


def _take(line: str, found: Contents, files: ProjectFiles, path: str, *, constrains: bool) -> list[tuple[str, bool]]:
    """Add a line to `found`. Return the file that it includes, and whether as constraints."""
    found.has_hashes = found.has_hashes or "--hash" in line or line.startswith("--require-hashes")
    if include := _INCLUDE.match(line):
        found.has_options = found.has_options or "://" in line
        return _included(include, found, files, path)
    if constrains:
        _pin(line, found)
        return []
    editable = _EDITABLE.match(line)
    what = (editable["what"] if editable else line).strip()
    is_plain = _PLAIN_SELF.fullmatch(what) is not None
    found.has_options = found.has_options or not (is_plain or _is_requirement(line))
    if itself := _SELF.fullmatch(what.strip("\"'")):
        if os.path.normpath(itself["path"]) == ".":
            found.itself = "-e" if editable else ""
            found.extras += [normal_name(name.strip()) for name in (itself["extras"] or "").split(",") if name.strip()]
    elif not line.startswith("-") or editable:
        _name(_OPTION_AFTER.split(what, maxsplit=1)[0].strip(), found)
    return []


def _is_requirement(line: str) -> bool:
    """Return whether this is a requirement in the standard's form, and nothing but hashes follows it."""
    requirement, *rest = _OPTION_AFTER.split(line, maxsplit=1)
    options = line[len(requirement) :].split()
    try:
        Requirement(requirement.strip())
    except (InvalidRequirement, ValueError, RecursionError):
        return False
    return not rest or all(option.startswith("--hash") for option in options)


def _pin(line: str, found: Contents) -> None:
    try:
        requirement = Requirement(_OPTION_AFTER.split(line, maxsplit=1)[0].strip())
    except (InvalidRequirement, ValueError, RecursionError):
        return
    if requirement.specifier and requirement.marker is None:
        found.pins[normal_name(requirement.name)] = str(requirement.specifier)


def _path_of(text: str) -> str:
    return os.path.normpath(text.partition(";")[0].partition("[")[0].strip())


def _included(include: re.Match[str], found: Contents, files: ProjectFiles, path: str) -> list[tuple[str, bool]]:
    try:
        word = next(iter(shlex.split(include["path"])), "")
    except ValueError:
        return []
    # As in pip, a file that is included by -r in a constraints file is installed.
    constrains = (include["short"] or include["long"]).startswith("c")
    inner = files.inside(word, os.path.dirname(path) or ".") if "://" not in word else None
    if inner is None:
        return []
    if constrains:
        found.constraints.append(inner)
    return [(inner, constrains)]


def _name(text: str, found: Contents) -> None:
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, ValueError, RecursionError):
        if (egg := _EGG.search(text)) and is_identifier(egg[1]):
            found.named[normal_name(egg[1])] = True
        elif "://" not in text:
            found.paths.add(_path_of(text))
        return
    found.others.append(text)
    if requirement.url is None:
        found.asked.add(normal_name(requirement.name))
    if requirement.marker is None and not requirement.extras:
        found.named[normal_name(requirement.name)] = bool(requirement.specifier or requirement.url)
