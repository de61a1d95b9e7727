"""Decides which files of a directory belong to the project, by git's rules but without git.

The sources of rules, from weakest to strongest. Within each, a deeper file wins over a higher one, and a later line
over an earlier one:

1. `.git/info/exclude` of the directory that is packed;
2. `.gitignore` files, in it and below;
3. built-in rules: the data of version control, virtual environments (any directory with a `pyvenv.cfg`), caches of
   Python tools, and the data of `ci serve` (`LEFT_OUT`);
4. `.ciignore` files, which have the same syntax. They win over all others, but bring back something of 3 only by its
   exact name (`!.git/`, `!.venv/`), not by a general `!*/`.

As in git, nothing below a directory that is left out can be brought back unless the directory itself is. Patterns see
only paths below the packed directory.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ci_client.packing.wildmatch import translate_name, translate_path

LEFT_OUT = frozenset(
    {
        *(".git", ".hg", ".svn"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"),
        *("ci_jobs.db", "ci_jobs.db-wal", "ci_jobs.db-shm", "ci_jobs.db-ballast", "ci_jobs.data"),
    }
)
"""Names of files or directories that are left out at any depth."""

_GITIGNORE, _CIIGNORE = ".gitignore", ".ciignore"
IGNORE_FILES = (_GITIGNORE, _CIIGNORE)
"""The names of the files in a project that have rules."""
ENVIRONMENT_MARK = "pyvenv.cfg"
"""What a directory has in it that is a virtual environment."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Rule:
    regex: str
    leave_out: bool
    for_names: bool
    """Whether it is matched against the last part of a path instead of the whole path."""
    for_directories: bool
    """Whether it applies only to directories."""
    name: str
    """The last part of the pattern."""
    number: int
    """Its line in the file, from 0."""
    text: str
    """The line."""


class _Matcher:
    """Finds the last of several rules that matches a text, by one search."""

    def __init__(self, rules: Iterable[_Rule]) -> None:
        self._rules = tuple(rules)[::-1]
        self._match = re.compile("|".join(f"({rule.regex})" for rule in self._rules), re.DOTALL).fullmatch

    def last(self, text: str) -> _Rule | None:
        found = self._match(text)
        return self._rules[found.lastindex - 1] if found is not None and found.lastindex else None


class IgnoreFile:
    """The rules of one ignore file. Paths are relative to the file's directory.

    Git matches bytes, not characters, so patterns, names and paths are bytes here, represented as text (`as_bytes`).
    """

    def __init__(self, lines: Iterable[str], path: str = "") -> None:
        self.path = path
        rules = [rule for number, line in enumerate(lines) if (rule := _parse(line, number)) is not None]
        files = [rule for rule in rules if not rule.for_directories]
        self._of_files, self._of_directories = _matchers(files), _matchers(rules)
        self.has_rules = bool(rules)

    @classmethod
    def read(cls, path: str, *, follow: bool = False) -> "IgnoreFile | None":
        """Return the rules of a file, or None if there is no file. Raises OSError if it cannot be read.

        As in git, an ignore file in the project that is a symbolic link is not read.
        """
        try:
            if not follow and os.path.islink(path):
                return None
            with open(path, "rb") as file:
                raw = file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return cls.of_bytes(raw, path)

    @classmethod
    def of_bytes(cls, raw: bytes, path: str = "") -> "IgnoreFile":
        """Return the rules in the content of the file at `path`."""
        lines = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        # Git reads lines as C strings, which end at a NUL byte.
        return cls((line.removesuffix(b"\r").split(b"\0", 1)[0].decode("latin-1") for line in lines), path)

    def verdict(self, name: str, path: str, *, is_directory: bool) -> _Rule | None:
        """Return the last rule that matches an entry itself (not one of its parents), or None."""
        names, paths = self._of_directories if is_directory else self._of_files
        by_name = names.last(name) if names is not None else None
        by_path = paths.last(path) if paths is not None else None
        if by_name is None or by_path is None:
            return by_name or by_path
        return max(by_name, by_path, key=lambda rule: rule.number)


def _matchers(rules: list[_Rule]) -> tuple[_Matcher | None, _Matcher | None]:
    names = [rule for rule in rules if rule.for_names]
    paths = [rule for rule in rules if not rule.for_names]
    return _Matcher(names) if names else None, _Matcher(paths) if paths else None


def _parse(line: str, number: int) -> _Rule | None:
    """Return the rule of a line; None if it has none, or a pattern that matches nothing."""
    if line.startswith("#"):
        return None
    pattern = _without_spaces_at_end(line)
    brings_back = pattern.startswith("!")
    pattern = pattern[brings_back:]
    for_directories = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    for_names = "/" not in pattern
    regex = translate_name(pattern) if for_names else translate_path(pattern.removeprefix("/"))
    if not regex:
        return None
    name = _ESCAPE.sub(r"\1", pattern.rpartition("/")[2])
    return _Rule(regex, not brings_back, for_names, for_directories, name, number, line)


def _without_spaces_at_end(line: str) -> str:
    """Return the line without spaces at its end, except one after a backslash."""
    cut = line.rstrip(" ")
    backslashes = len(cut) - len(cut.rstrip("\\"))
    return line[: len(cut) + 1] if backslashes % 2 else cut


class Cause(NamedTuple):
    """Why an entry is left out: a rule of a file, or a built-in rule."""

    file: str | None
    """The ignore file, `pyvenv.cfg` for a virtual environment, or None for a name that is always left out."""
    line: int | None = None
    """From 1."""
    pattern: str | None = None


class Rules:
    """The rules that apply in one directory of a tree. Start with `Rules.of_root`, and descend with `below`."""

    def __init__(self, git: tuple[tuple[str, IgnoreFile], ...], ci: tuple[tuple[str, IgnoreFile], ...]) -> None:
        """Each file comes with the directory's path relative to the file's; the strongest is first."""
        self._git = git
        self._ci = ci
        self._are_of_files = bool(git or ci)
        self.are_from_elsewhere = False
        """For the packed directory: whether some of them are of a file that does not belong to the project."""

    @classmethod
    def of_root(cls, root: Path, names: frozenset[str]) -> "Rules":
        """Return the rules of the packed directory, which has these names in it. Raises OSError as `below` does."""
        exclude = IgnoreFile.read(str(_git_info(root) / "exclude"), follow=True)
        rules = cls((("", exclude),) if exclude is not None and exclude.has_rules else (), ())
        inner = rules._with_files_of(str(root), names)
        inner.are_from_elsewhere = rules._are_of_files
        return inner

    def below(self, name: str, location: str, names: frozenset[str]) -> "Rules":
        """Return the rules of the directory `name` in this one, which is at `location` and has these names in it.

        Raises OSError if an ignore file cannot be read.
        """
        inner = self
        if self._are_of_files:
            step = f"{as_bytes(name)}/"
            git = tuple((path + step, file) for path, file in self._git)
            inner = Rules(git, tuple((path + step, file) for path, file in self._ci))
        return inner._with_files_of(location, names)

    def left_out_by(self, name: str, *, is_directory: bool, is_environment: bool = False) -> Cause | None:
        """Return why an entry of this directory is left out, or None if it belongs to the project.

        A directory that has a `pyvenv.cfg` in it `is_environment`.
        """
        if not (self._are_of_files or is_environment or name in LEFT_OUT):
            return None
        text = as_bytes(name)
        asked_for = _strongest(self._ci, text, is_directory) if self._ci else None
        if name in LEFT_OUT or is_environment:
            if asked_for is None:
                return Cause(ENVIRONMENT_MARK if is_environment and name not in LEFT_OUT else None)
            return _cause(asked_for) if asked_for[1].leave_out or asked_for[1].name != text else None
        found = asked_for or _strongest(self._git, text, is_directory)
        return _cause(found) if found is not None and found[1].leave_out else None

    def _with_files_of(self, location: str, names: frozenset[str]) -> "Rules":
        git = _file_in(location, _GITIGNORE) if _GITIGNORE in names else ()
        ci = _file_in(location, _CIIGNORE) if _CIIGNORE in names else ()
        return Rules(git + self._git, ci + self._ci) if git or ci else self


def _file_in(location: str, name: str) -> tuple[tuple[str, IgnoreFile], ...]:
    file = IgnoreFile.read(f"{location}/{name}")
    return (("", file),) if file is not None else ()


def as_bytes(name: str) -> str:
    """Return a name's bytes as text, each byte as the character with its number."""
    return name if name.isascii() else os.fsencode(name).decode("latin-1")


def _strongest(
    files: tuple[tuple[str, IgnoreFile], ...], name: str, is_directory: bool
) -> tuple[IgnoreFile, _Rule] | None:
    for path, file in files:
        if (rule := file.verdict(name, path + name, is_directory=is_directory)) is not None:
            return file, rule
    return None


def _cause(found: tuple[IgnoreFile, _Rule]) -> Cause:
    file, rule = found
    if not rule.leave_out:
        return Cause(None)  # Asked for, but not by its exact name.
    return Cause(file.path, rule.number + 1, os.fsdecode(rule.text.encode("latin-1")))


def _git_info(root: Path) -> Path:
    """Return git's `info` directory. In a worktree or a submodule, `.git` is a file that names the real directory."""
    git = root / ".git"
    try:
        if git.is_file():
            git = root / git.read_text().removeprefix("gitdir:").strip()
        common = git / "commondir"
        return (git / common.read_text().strip() if common.is_file() else git) / "info"
    except (OSError, UnicodeError):
        return git / "info"
