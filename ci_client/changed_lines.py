"""Which of the lines that a project has changed are not covered by tests.

The lines are those of the working tree, against a commit of its git repository. What a job has covered says something
about a file only if the job had the same file, so files that are not the same any more are named, and not compared.
"""

import codecs
import hashlib
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_client.errors import EX_USAGE, ClientError

MOST_RANGES = 500
"""So many ranges of lines without coverage a job keeps of one file; lines behind them are not known."""
_BASES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
_GIT_SECONDS = 60.0
_HUNK = re.compile(rb"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")
_DIFF = (
    *("diff", "--relative", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--unified=0"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--diff-filter=AM", "--ignore-submodules"),
)
Range = tuple[int, int]
"""The first and the last line, counted from 1."""


class CannotCompare(ClientError):
    """There are no changed lines to compare with. The message says why."""

    exit_status = EX_USAGE


@dataclass(frozen=True, slots=True)
class Change:
    """The lines that a working tree has and a commit has not."""

    base: str
    """What it is compared with, for people."""
    lines: Mapping[str, Sequence[Range]]
    """By file, relative to the project."""


@dataclass(slots=True)
class Uncovered:
    """What is known of the coverage of changed lines."""

    base: str
    lines: dict[str, list[Range]] = field(default_factory=dict)
    """The changed lines that can be run, and were not, by file."""
    covered: list[str] = field(default_factory=list)
    """Files that have coverage, and in which it lacks none of the changed lines."""
    other: list[str] = field(default_factory=list)
    """Files that are not the same as those that the job had."""
    unknown: list[str] = field(default_factory=list)
    """Files of which the job has no coverage, or not of all of their lines."""
    is_checked: bool = True
    """Whether it is known that the job had these files."""

    @property
    def count(self) -> int:
        """How many lines are not covered."""
        return sum(last - first + 1 for ranges in self.lines.values() for first, last in ranges)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "base": self.base,
            "uncovered_lines": self.count,
            "files": [{"path": path, "lines": [list(each) for each in lines]} for path, lines in self.lines.items()],
            "covered": self.covered,
            "not_the_same": self.other,
            "not_measured": self.unknown,
            "is_checked": self.is_checked,
        }


def changed_lines(project: Path, base: str | None) -> Change:
    """Return the lines of the working tree at `project` that are not in a commit. Blocks. Raises CannotCompare.

    The commit is where the present branch has left `base`, by default the main branch; without one, it is HEAD.
    """
    if _git(project, "rev-parse", "--is-inside-work-tree", may_fail=True) is None:
        raise CannotCompare(f"{project} is in no git repository, so no lines are known to have changed")
    if _git(project, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", may_fail=True) is None:
        raise CannotCompare("the git repository has no commit yet, so there is nothing to compare with")
    commit, name = _base_of(project, base)
    lines = _parsed(_git(project, *_DIFF, commit, "--", ".") or b"")
    for raw in (_git(project, "ls-files", "-z", "--others", "--exclude-standard", "--", ".") or b"").split(b"\0"):
        if raw and (count := _count_lines(project / raw.decode(errors="surrogateescape"))):
            lines[raw.decode(errors="surrogateescape")] = [(1, count)]
    return Change(f"{name} ({commit[:9]})", lines)


def uncovered(
    change: Change, project: Path, coverage: Mapping[str, Any], files: Iterable[Mapping[str, Any]] | None
) -> Uncovered:
    """Return which changed lines are not covered. Blocks.

    `coverage` is that of `GET /jobs/{id}/reports`, and `files` those of the record of the job, None if it has none.
    """
    found = Uncovered(change.base, is_checked=files is not None)
    had = None if files is None else {file["path"]: file["sha256"] for file in files}
    measured = {file["path"]: file for file in coverage["files"]}
    for path, lines in sorted(change.lines.items()):
        name = _named(path, measured)
        if name is None:
            found.unknown.append(path)
        elif had is not None and had.get(path) != _digest(project / path):
            found.other.append(path)
        else:
            _add(found, path, lines, [(first, last) for first, last in measured[name]["missing"]])
    return found


def _add(found: Uncovered, path: str, lines: Sequence[Range], missing: Sequence[Range]) -> None:
    common = [
        (max(first, begin), min(last, end))
        for first, last in lines
        for begin, end in missing
        if begin <= last and first <= end
    ]
    if common:
        found.lines[path] = common
    if len(missing) >= MOST_RANGES and lines[-1][1] > missing[-1][1]:
        found.unknown.append(path)
    elif not common:
        found.covered.append(path)


def _named(path: str, measured: Mapping[str, Any]) -> str | None:
    """Return what the coverage calls this file: its path, or the end of it where tests ran in a folder."""
    if path in measured:
        return path
    ends = [name for name in measured if path.endswith(f"/{name}")]
    return max(ends, key=len) if ends else None


def _base_of(project: Path, base: str | None) -> tuple[str, str]:
    """Return the commit to compare with, and its name for people."""
    for name in _BASES if base is None else (base,):
        if name.startswith("-"):
            break
        if (commit := _git(project, "merge-base", "HEAD", name, may_fail=True)) is not None:
            return commit.decode().strip(), name
    if base is not None:
        raise CannotCompare(f"{base!r} names no commit that the present branch has come from")
    return (_git(project, "rev-parse", "HEAD") or b"").decode().strip(), "HEAD"


def _git(project: Path, *arguments: str, may_fail: bool = False) -> bytes | None:
    """Return what git prints; None if it fails and may. Raises CannotCompare."""
    command = ["git", "-C", str(project), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, timeout=_GIT_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as exc:
        raise CannotCompare("git is not installed, so no lines are known to have changed") from exc
    except subprocess.TimeoutExpired as exc:
        raise CannotCompare(f"git {arguments[0]} took more than {_GIT_SECONDS:g} seconds") from exc
    if done.returncode == 0:
        return done.stdout
    if may_fail:
        return None
    raise CannotCompare(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")


def _parsed(diff: bytes) -> dict[str, list[Range]]:
    """Return the lines that a diff adds, by file."""
    lines: dict[str, list[Range]] = {}
    path, is_head = "", False
    for line in diff.split(b"\n"):
        if line.startswith(b"diff --git "):
            is_head = True
        elif is_head and line.startswith(b"+++ "):
            path = _path_in(line[4:])
        elif found := _HUNK.match(line):
            is_head = False
            first, count = int(found[1]), int(found[2] or 1)
            if count:
                lines.setdefault(path, []).append((first, first + count - 1))
    return lines


def _path_in(named: bytes) -> str:
    """Return the path in a line of a diff, which git quotes if it has unusual characters."""
    named = named.rstrip(b"\t\r")
    if named.startswith(b'"'):
        named = codecs.escape_decode(named[1:-1])[0]
    return named.removeprefix(b"b/").decode(errors="surrogateescape")


def _count_lines(file: Path) -> int:
    try:
        content = b"" if file.is_symlink() else file.read_bytes()
    except OSError:
        return 0
    return content.count(b"\n") + (bool(content) and not content.endswith(b"\n"))


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
