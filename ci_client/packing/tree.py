"""Walks the tree of a project in packing order, and refuses what cannot be packed.

The order is by name, depth first, so that the same tree gives the same archive.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

from ci_client.errors import PackingError
from ci_client.escapes import visible
from ci_client.packing.ignore import ENVIRONMENT_MARK, LEFT_OUT, Cause, Rules

LIST_IT = "list it in .ciignore to leave it out"
_PATH_BYTES, _NAME_BYTES = 2048, 255
"""The limits of servers. Linux allows longer paths."""
_ORDINARY_LENGTH = 200
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

T = TypeVar("T")


OnLeftOut = Callable[[str, Cause], None]
"""Called with the path of an entry that is left out, which ends with `/` for a directory, and why."""


class Known(NamedTuple, Generic[T]):
    """What an earlier walk has found in a directory, and is still there."""

    files: Mapping[str, T]
    """Regular files that belonged to the project, by name."""
    has_same_rules: bool
    """Whether the directory's ignore files are the same as then."""


Recognize = Callable[[str, Sequence[os.DirEntry[str]]], Known[T]]
"""Called with the path of a directory below the root, empty or with `/` at its end, and its entries."""


class Leaf(NamedTuple):
    """A file or a link."""

    path: str
    """Below the root, with `/` between names."""
    location: str
    """Its path for system calls."""
    is_link: bool


class Left(NamedTuple):
    """A directory whose entries have all been yielded, unless all of them are known files."""

    path: str
    """Ends with `/`."""
    location: str


@dataclass(slots=True)
class _Open(Generic[T]):
    """A directory whose entries are being yielded."""

    path: str
    location: str
    entries: Iterator[os.DirEntry[str]]
    known: Mapping[str, T]
    rules: Rules
    has_same_rules: bool
    """Whether all rules are the same as when the known files belonged to the project."""
    are_known: bool
    """Whether there are entries, and all are known files that belong to the project."""

    @classmethod
    def of(
        cls,
        path: str,
        location: str,
        entries: list[os.DirEntry[str]],
        rules: Rules,
        known: Known[T],
        *,
        below_same: bool,
    ) -> Self:
        files, has_same_rules = known.files, below_same and known.has_same_rules
        are_known = has_same_rules and 0 < len(files) == len(entries) and LEFT_OUT.isdisjoint(files)
        return cls(path, location, iter(entries), files, rules, has_same_rules, are_known)


Progress = Callable[[int, int], None]
"""Called with the number of files and of their bytes read so far."""


def is_directory(path: Path) -> bool:
    """Return whether a project is a directory. Raises PackingError if there is nothing at `path`."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not path.is_symlink():
            raise PackingError(f"{visible(str(path))} does not exist") from exc
        raise PackingError(
            f"{visible(str(path))} is a link to {visible(os.readlink(path))}, which does not exist"
        ) from exc
    except OSError as exc:
        why = "it is a link that leads back to itself" if exc.errno == errno.ELOOP else exc.strerror
        raise PackingError(f"cannot read {visible(str(path))}: {why}") from exc


class Tree:
    """The project in a directory. What is skipped is appended to `notes`."""

    def __init__(self, root: Path, notes: list[str], on_left_out: OnLeftOut | None = None) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._notes = notes
        self._on_left_out = on_left_out

    def walk(self) -> Iterator[Leaf | Left]:
        """Yield what is to be packed. Raises PackingError if something cannot be packed."""
        return self.walk_recognizing(lambda _path, _entries: Known({}, False))

    def walk_recognizing(self, recognize: "Recognize[T]") -> "Iterator[Leaf | Left | T]":
        """Yield what is to be packed, as `recognize` knows it, and as a Leaf where it does not.

        Raises PackingError if something cannot be packed.
        """
        entries = self._listed(str(self._root), "")
        rules = _read_rules(lambda: Rules.of_root(self._root, _names(entries)))
        # A list instead of recursion: trees may be deeper than Python's stack.
        location, same = str(self._root), not rules.are_from_elsewhere
        opened = [_Open.of("", location, entries, rules, recognize("", entries), below_same=same)]
        while opened:
            here = opened[-1]
            known, rules = here.known, here.rules
            if here.are_known:
                yield from known.values()
            for entry in () if here.are_known else here.entries:
                name = entry.name
                path, found = here.path + name, known.get(name)
                is_directory = found is None and entry.is_dir(follow_symlinks=False)
                is_trusted = found is not None and here.has_same_rules and name not in LEFT_OUT
                if not is_trusted and self._leaves_out(rules, name, path, is_directory):
                    continue
                if found is not None:
                    yield found
                elif not is_directory:
                    if (leaf := self._leaf(entry, path)) is not None:
                        yield leaf
                elif (inner := self._entered(entry, f"{path}/", here, recognize)) is not None:
                    opened.append(inner)
                    break
            else:
                opened.pop()
                if opened and not here.are_known:
                    yield Left(here.path, here.location)

    def _leaves_out(
        self, rules: Rules, name: str, path: str, is_directory: bool, *, is_environment: bool = False
    ) -> bool:
        cause = rules.left_out_by(name, is_directory=is_directory, is_environment=is_environment)
        if cause is not None and self._on_left_out is not None:
            self._on_left_out(f"{path}/" if is_directory else path, cause)
        return cause is not None

    def _entered(
        self, entry: os.DirEntry[str], path: str, above: "_Open[T]", recognize: "Recognize[T]"
    ) -> "_Open[T] | None":
        """Return a directory with its entries; None if they show that it is left out."""
        entries, rules = self._listed(entry.path, path), above.rules
        names = _names(entries)
        if ENVIRONMENT_MARK in names and self._leaves_out(rules, entry.name, path[:-1], True, is_environment=True):
            return None
        _check_name(path)
        inner = _read_rules(lambda: rules.below(entry.name, entry.path, names))
        known = recognize(path, entries)
        return _Open.of(path, entry.path, entries, inner, known, below_same=above.has_same_rules)

    def _listed(self, directory: str, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return sorted(entries, key=attrgetter("name"))
        except (FileNotFoundError, NotADirectoryError):
            self._notes.append(f"{visible(path or directory)} vanished while packing")
            return []
        except OSError as exc:
            raise PackingError(f"cannot read {visible(path or directory)}: {exc.strerror}; {LIST_IT}") from exc

    def _leaf(self, entry: os.DirEntry[str], path: str) -> Leaf | None:
        is_link = not entry.is_file(follow_symlinks=False)
        if is_link and not entry.is_symlink():
            self._notes.append(f"{visible(path)} is a socket, a pipe or a device, and was left out")
            return None
        _check_name(path)
        return Leaf(path, entry.path, is_link)

    def check_link(self, path: str, target: str) -> None:
        """Raise PackingError if a link leads out of the tree.

        Both its name and its resolved target are checked: servers check the name, and a link on the way may change
        what the name means.
        """
        by_name = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if not os.path.isabs(target) and by_name.split("/", 1)[0] != "..":
            # Circular links lead nowhere, but stay inside: `realpath` returns the path so far.
            end = os.path.realpath(os.path.join(self._root, os.path.dirname(path), target))
            if end == self._real_root or end.startswith(self._real_root.rstrip("/") + "/"):
                return
        raise PackingError(
            f"the link {visible(path)} leads out of the project, to {visible(target)}, which a job cannot follow; "
            f"{LIST_IT}"
        )


def _names(entries: list[os.DirEntry[str]]) -> frozenset[str]:
    return frozenset([entry.name for entry in entries])


def _read_rules(read: Callable[[], Rules]) -> Rules:
    try:
        return read()
    except OSError as exc:
        raise PackingError(f"cannot read {visible(str(exc.filename))}: {exc.strerror}") from exc


def _check_name(path: str) -> None:
    """Raise PackingError for a name that an archive cannot hold, or that servers refuse."""
    is_drive = path[1:2] == ":" and _DRIVE.match(path)
    if not is_drive and path.isascii() and path.isprintable() and len(path) < _ORDINARY_LENGTH:
        return
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise PackingError(
            f"the name of {visible(path)} is not valid UTF-8, which an archive cannot hold; rename it, or {LIST_IT}"
        ) from None
    if _CONTROL.search(path):
        raise PackingError(
            f"the name of {visible(path)} has a control character, which servers refuse; rename it, or {LIST_IT}"
        )
    if is_drive:
        raise PackingError(
            f"{visible(path)} begins like a Windows drive, which servers refuse; rename it, or {LIST_IT}"
        )
    if len(raw.rstrip(b"/")) > _PATH_BYTES or max(map(len, raw.split(b"/"))) > _NAME_BYTES:
        raise PackingError(
            f"{visible(path[:80])}… has too long a path: servers take {_NAME_BYTES} bytes in a name and {_PATH_BYTES} "
            f"in a path; shorten it, or list it in .ciignore to leave it out"
        )
