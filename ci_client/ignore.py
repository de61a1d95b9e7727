"""Which files of a directory belong to the project. Follows git's rules without needing git.

From weakest to strongest, and within each the deeper file over the higher one, the later line over the earlier:

1. `.git/info/exclude` of the directory that is packed;
2. `.gitignore` files, in it and below;
3. what is left out always: version control's own data, virtual environments (any directory with a `pyvenv.cfg`), caches
   of Python tools, and what `ci serve` keeps (`LEFT_OUT`);
4. `.ciignore` files, which have the same syntax. They win over all, but bring back something of 3 only by its very
   name (`!.git/`, `!.venv/`): a sweeping `!*/` does not.

As in git, nothing below a directory that is left out can be brought back unless the directory itself is. Only names
below the packed directory count; what it lies in does not matter.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

LEFT_OUT = frozenset(
    {
        *(".git", ".hg", ".svn"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"),
        *("ci_jobs.db", "ci_jobs.db-wal", "ci_jobs.db-shm", "ci_jobs.data"),
    }
)
"""Names that are left out at any depth, files or directories."""

_MARKER_GROUP = re.compile(r"\(\?P<\w+>")


@dataclass(frozen=True, slots=True)
class _Rule:
    regex: re.Pattern[str]
    leave_out: bool
    name: str
    """The last part of the pattern."""


class IgnoreFile:
    """The rules of one ignore file; paths are relative to the directory it rules, with a `/` after directories.

    Git matches bytes, not characters: patterns and paths are bytes here, in the form of text (`_as_bytes`).
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = tuple(rule for line in lines if (rule := _parse(line)) is not None)[::-1]
        # One search tells for most paths that no rule fits them.
        self._any = re.compile("|".join(f"(?:{rule.regex.pattern})" for rule in self._rules) or r"(?!)", re.DOTALL)

    @classmethod
    def read(cls, path: Path) -> "IgnoreFile | None":
        """Read a file; None where there is none. Raises OSError where it cannot be read."""
        try:
            raw = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        lines = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        return cls(line.removesuffix(b"\r").decode("latin-1") for line in lines)

    def verdict(self, path: str) -> _Rule | None:
        """Return the last rule that fits the path itself (not one of its parents), or None. Takes bytes as text."""
        if not self._any.search(path):
            return None
        return next((rule for rule in self._rules if rule.regex.search(path)), None)


def _parse(line: str) -> _Rule | None:
    pattern = line if line.endswith("\\ ") else line.rstrip(" ")
    # pathspec lets `x/**` fit x itself, where git means only what is below it.
    if pattern.endswith("/**"):
        pattern += "/*"
    elif pattern.endswith("/**/"):
        pattern += "*/"
    # It also drops any white space from the end, where git drops blanks alone.
    if pattern[-1:].isspace() and pattern[-1:] != " ":
        pattern = f"{pattern[:-1]}[{pattern[-1]}]"
    try:
        regex, leave_out = GitIgnoreSpecPattern.pattern_to_regex(pattern)
    except ValueError:
        return None  # As git does, pass over a pattern that means nothing.
    if regex is None or leave_out is None:
        return None
    # pathspec's expressions fit whatever lies below, too; ended here, they fit the path itself alone.
    whole = re.compile(_MARKER_GROUP.sub("(?:", f"(?:{regex})\\Z"), re.DOTALL)
    return _Rule(whole, leave_out, pattern.rstrip("/").rpartition("/")[2].lstrip("!"))


class Rules:
    """The rules that hold in one directory of a tree. Begin with `Rules.of_root`, go down with `below`."""

    def __init__(
        self, directory: Path, git: tuple[tuple[str, IgnoreFile], ...], ci: tuple[tuple[str, IgnoreFile], ...]
    ) -> None:
        self._directory = directory
        self._git = git
        self._ci = ci

    @classmethod
    def of_root(cls, root: Path) -> "Rules":
        """Return the rules of the directory that is packed. Raises OSError where a file of rules cannot be read."""
        return cls(root, tuple(_rules_file("", _git_info(root) / "exclude")), ())._with_own_files("")

    def below(self, name: str, path: str) -> "Rules":
        """Return the rules of the directory `name` in this one; `path` is its path below the root, ending with `/`."""
        return Rules(self._directory / name, self._git, self._ci)._with_own_files(path)

    def leaves_out(self, name: str, path: str) -> bool:
        """Tell whether an entry is left out; `path` is its path below the root, with a `/` after a directory's."""
        asked_for = _strongest(self._ci, path)
        if name in LEFT_OUT or (path.endswith("/") and _is_environment(self._directory / name)):
            return asked_for is None or asked_for.leave_out or asked_for.name != _as_bytes(name)
        rule = asked_for or _strongest(self._git, path)
        return rule is not None and rule.leave_out

    def _with_own_files(self, path: str) -> "Rules":
        git = tuple(_rules_file(path, self._directory / ".gitignore"))
        ci = tuple(_rules_file(path, self._directory / ".ciignore"))
        return Rules(self._directory, git + self._git, ci + self._ci)


def _as_bytes(path: str) -> str:
    return os.fsencode(path).decode("latin-1")


def _strongest(files: tuple[tuple[str, IgnoreFile], ...], path: str) -> _Rule | None:
    for base, file in files:
        if (rule := file.verdict(_as_bytes(path[len(base) :]))) is not None:
            return rule
    return None


def _rules_file(base: str, path: Path) -> Iterator[tuple[str, IgnoreFile]]:
    file = None if path.is_symlink() else IgnoreFile.read(path)
    if file is not None:
        yield base, file


def _is_environment(path: Path) -> bool:
    return os.path.lexists(path / "pyvenv.cfg")


def _git_info(root: Path) -> Path:
    """Return git's `info` directory. In a worktree or a submodule, `.git` is a file that names another place."""
    git = root / ".git"
    try:
        if git.is_file():
            git = root / git.read_text().removeprefix("gitdir:").strip()
        common = git / "commondir"
        return (git / common.read_text().strip() if common.is_file() else git) / "info"
    except (OSError, UnicodeError):
        return git / "info"
