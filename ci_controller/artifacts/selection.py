"""Which files of a workspace are artifacts. The job may still change anything there, and chose every name in it.

The walk goes through open directories and follows no link, enters only directories that can hold a match, and looks at
a bounded number of entries. What it leaves out it says.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ci_common.attempts.parts import LeftOut
from ci_common.parsing.globs import NOWHERE, Glob, States
from ci_common.parsing.text import printable
from ci_common.spec_parts.artifacts import PlannedArtifacts
from ci_common.system.trees import Folder

MOST_ENTRIES: Final = 1_000_000
"""How many files and directories are looked at."""
LONGEST_PATH: Final = 1024
"""Bytes of a path in UTF-8."""
SHOWN: Final = 20
"""How many of those that are left out are named."""
_LOOKED_AT_ONCE: Final = 1000
_REFUSED: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_KINDS: Final = (
    (stat.S_ISLNK, "it is a link, and links are not followed"),
    (stat.S_ISFIFO, "it is a FIFO"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
)

Check = Callable[[], None]
"""Raises to end what is being done."""


@dataclass(slots=True)
class Omissions:
    """What was to be kept, and is not."""

    number: int = 0
    first: list[LeftOut] = field(default_factory=list)

    def add(self, path: str, reason: str, count: int = 1) -> None:
        """Note that a path is left out, or the first of `count` of them."""
        self.number += count
        if len(self.first) < SHOWN:
            readable = os.fsencode(path).decode(errors="backslashreplace")
            self.first.append(LeftOut(printable(readable), reason))


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is an artifact."""

    path: str
    group: PlannedArtifacts
    size: int


@dataclass(slots=True)
class Selection:
    """The artifacts of an attempt, in the order of their paths."""

    files: list[Found] = field(default_factory=list)
    omissions: Omissions = field(default_factory=Omissions)


@dataclass(slots=True)
class _Group:
    plan: PlannedArtifacts
    take: list[Glob]
    leave: list[Glob]


@dataclass(frozen=True, slots=True)
class _Way:
    """A directory to be looked into, and how far the patterns of each group have come there."""

    names: tuple[str, ...]
    states: tuple[tuple[tuple[States, ...], tuple[States, ...]], ...]


def select(root: Folder, plans: Sequence[PlannedArtifacts], *, most_files: int, check: Check) -> Selection:
    """Return the artifacts below an open directory. Raises what `check` raises."""
    selection = Selection()
    groups = [_Group(plan, [*map(Glob, plan.take)], [*map(Glob, plan.leave)]) for plan in plans]
    begin = tuple((tuple(g.start for g in group.take), tuple(g.start for g in group.leave)) for group in groups)
    ways, looked = [_Way((), begin)], 0
    while ways:
        check()
        way = ways.pop()
        try:
            with root.folder(*way.names) as folder, os.scandir(folder.descriptor) as entries:
                while batch := list(islice(entries, _LOOKED_AT_ONCE)):
                    check()
                    looked += len(batch)
                    for entry in batch:
                        _look(entry, way, groups, selection, ways)
                    if looked > MOST_ENTRIES:
                        selection.omissions.add("/".join(way.names) or ".", _too_many_entries())
                        return _sorted(selection, most_files)
        except OSError as exc:
            selection.omissions.add("/".join(way.names) or ".", f"the directory cannot be read: {exc.strerror}")
    return _sorted(selection, most_files)


def _too_many_entries() -> str:
    return (
        f"the search ended here, after {MOST_ENTRIES} files and directories; name directories in the patterns, as in "
        "dist/**, so that fewer are looked at"
    )


def _sorted(selection: Selection, most_files: int) -> Selection:
    selection.files.sort(key=lambda found: found.path)
    if surplus := selection.files[most_files:]:
        reason = f"more than {most_files} files match (CI_ARTIFACTS_MAX_FILES); pack them into an archive in a step"
        selection.omissions.add(surplus[0].path, reason, len(surplus))
        del selection.files[most_files:]
    return selection


def _look(
    entry: "os.DirEntry[str]", way: _Way, groups: Sequence[_Group], selection: Selection, ways: list[_Way]
) -> None:
    states = tuple(_advanced(groups, way.states, entry.name))
    if all(all(state is NOWHERE for state in take) for take, _ in states):
        return
    path = "/".join((*way.names, entry.name))
    matching = next(
        (group for group, (take, _) in zip(groups, states, strict=True) if _matches(group.take, take)), None
    )
    is_folder = entry.is_dir(follow_symlinks=False)
    if matching is None and not is_folder:
        return
    if (problem := _problem_of(path)) is not None:
        if matching is not None or is_folder:
            selection.omissions.add(path, problem)
    elif is_folder:
        ways.append(_Way((*way.names, entry.name), states))
    elif matching is not None:
        _take(entry, path, matching, selection)


def _take(entry: "os.DirEntry[str]", path: str, group: _Group, selection: Selection) -> None:
    try:
        state = entry.stat(follow_symlinks=False)
    except OSError as exc:
        selection.omissions.add(path, _why_not(exc))
        return
    if stat.S_ISREG(state.st_mode):
        selection.files.append(Found(path, group.plan, state.st_size))
        return
    reasons = (reason for is_kind, reason in _KINDS if is_kind(state.st_mode))
    selection.omissions.add(path, next(reasons, "it is not a file"))


def _why_not(exc: OSError) -> str:
    return (
        "it was removed before it was kept"
        if isinstance(exc, FileNotFoundError)
        else f"it cannot be read: {exc.strerror}"
    )


def _advanced(
    groups: Sequence[_Group], states: tuple[tuple[tuple[States, ...], tuple[States, ...]], ...], name: str
) -> Iterator[tuple[tuple[States, ...], tuple[States, ...]]]:
    """Yield how far the patterns of each group come with `name`; those of one that leaves the path out go nowhere."""
    for group, (take, leave) in zip(groups, states, strict=True):
        left = tuple(glob.step(state, name) for glob, state in zip(group.leave, leave, strict=True))
        if _matches(group.leave, left):
            yield tuple(NOWHERE for _ in take), left
        else:
            yield tuple(glob.step(state, name) for glob, state in zip(group.take, take, strict=True)), left


def _matches(globs: Sequence[Glob], states: tuple[States, ...]) -> bool:
    return any(glob.is_match(state) for glob, state in zip(globs, states, strict=True))


def _problem_of(path: str) -> str | None:
    """Return why a path cannot be the path of an artifact, or None if it can."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if size > LONGEST_PATH:
        return f"its path has {size} bytes; at most {LONGEST_PATH} are kept"
    if _REFUSED.search(path):
        return "its name has a control character or a line end"
    return None
