"""Manifests: the files, links and empty folders of a project as lines of text.

    f 1234 <sha256> path       a file
    x 1234 <sha256> path       an executable file
    l 7 <target> path          a symbolic link; its target in hexadecimal digits
    d 0 - path                 an empty folder
    - path                     only in a change: the path is gone

The lines are in the order of their paths, name by name, so that equal trees have equal manifests. A change has only the
lines that differ from another manifest.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from operator import ne
from typing import Final, NamedTuple

from ci_common.archives.members import TARGET_BYTES, check_links, check_target, checked_path, shortened
from ci_common.errors import InvalidUpload, TooLarge

FILE: Final = "f"
EXECUTABLE: Final = "x"
LINK: Final = "l"
FOLDER: Final = "d"
GONE: Final = "-"
FILES: Final = (FILE, EXECUTABLE)
NOTHING: Final = "-"
"""What a folder has in place of a digest."""

_EMPTY = sha256().hexdigest()
_LINE = re.compile(
    r"(?:([fx]) (0|[1-9][0-9]{0,15}) ([0-9a-f]{64})|(l) (0|[1-9][0-9]{0,3}) ((?:[0-9a-f]{2})+)|(d) (0) (-)) (.+)"
)
_ADVANCE_ENTRIES = 1000
_BYTES_PER_MEMBER = 600
"""Bytes of text that a manifest may have for each member that is allowed. Ordinary lines have a hundred."""


class Entry(NamedTuple):
    """A file, a link or an empty folder."""

    path: str
    kind: str
    size: int
    """Bytes of a file, or of a link's target."""
    content: str
    """The SHA-256 of a file's content, or a link's target in hexadecimal digits."""

    @property
    def is_file(self) -> bool:
        return self.kind in FILES

    @property
    def target(self) -> str:
        """The target of a link."""
        return os.fsdecode(bytes.fromhex(self.content))


def kind_of(mode: int) -> str:
    """Return the kind of a file with this mode."""
    return EXECUTABLE if mode & 0o111 else FILE


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries in the order of a manifest."""
    return sorted(entries, key=lambda entry: entry.path.split("/"))


def manifest_text(entries: Iterable[Entry]) -> str:
    """Return the manifest of entries that are in order."""
    return "".join([f"{kind} {size} {content} {path}\n" for path, kind, size, content in entries])


def stored_entries(manifest: str) -> list[Entry]:
    """Return the entries of a manifest that was checked before it was stored. Raises ValueError if it is damaged."""
    lines = [line.split(" ", 3) for line in manifest.split("\n")[:-1]]
    return [Entry(path, kind, int(size), content) for kind, size, content, path in lines]


def changes(base: str, manifest: str) -> str:
    """Return the change from the manifest `base` to another one; empty if there is none."""
    before, after = _without_common_ends(base.split("\n"), manifest.split("\n"))
    known, kept = set(before), set(after)
    new = {_path(line): line for line in after if line not in known}
    gone = [path for line in before if line not in kept and (path := _path(line)) not in new]
    return "".join([*(f"{GONE} {path}\n" for path in gone), *(f"{line}\n" for line in new.values())])


def _without_common_ends(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    begin = _common(before, after)
    before, after = before[begin:], after[begin:]
    end = _common(before[::-1], after[::-1])
    return before[: len(before) - end], after[: len(after) - end]


def _common(one: list[str], other: list[str]) -> int:
    """Return how many lines are the same at the beginning."""
    return next((at for at, differs in enumerate(map(ne, one, other)) if differs), min(len(one), len(other)))


def _path(line: str) -> str:
    return line.split(" ", 3)[3]


def longest_text(members: int) -> int:
    """Return how many bytes of text a manifest may have if it may have so many members."""
    return max(1024 * 1024, members * _BYTES_PER_MEMBER)


def parsed(text: str, base: Mapping[str, Entry]) -> list[Entry]:
    """Return the entries, in order, of a manifest or of a change to `base`, which is in order. Raises InvalidUpload.

    Each path is safe for itself; `check_tree` checks all together.
    """
    entries, named, is_in_order = dict(base), set(), True
    lines = text.split("\n")
    if lines.pop():
        raise InvalidUpload("the manifest breaks off in its last line, which has no line end")
    for number, line in enumerate(lines, 1):
        entry = _parsed_line(line, number)
        path = line[2:] if entry is None else entry.path
        if path in named:
            raise InvalidUpload(f"the manifest names {shortened(path)} twice")
        named.add(path)
        if entry is not None:
            is_in_order = is_in_order and path in base
            entries[path] = entry
        elif entries.pop(path, None) is None:
            raise InvalidUpload(f"the manifest removes {shortened(path)}, which its base does not have")
    return list(entries.values()) if is_in_order else in_order(entries.values())


def _parsed_line(line: str, number: int) -> Entry | None:
    """Return the entry of a line; None if it removes one."""
    if line.startswith(f"{GONE} "):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise InvalidUpload(
            f"line {number} of the manifest is {shortened(line)}; it should be a kind (f, x, l or d), a size, a digest "
            "and a path, with one space between them"
        )
    kind, size, content, path = (group for group in match.groups() if group is not None)
    if checked_path(path) != path:
        raise InvalidUpload(f"the manifest has the path {shortened(path)}, which is not in normal form")
    entry = Entry(path, kind, int(size), content)
    if kind == LINK:
        _check_link(entry)
    elif kind != FOLDER and not entry.size and content != _EMPTY:
        raise InvalidUpload(
            f"the manifest has a digest for the empty file {shortened(path)} that is not that of no bytes"
        )
    return entry


def _check_link(entry: Entry) -> None:
    if 2 * entry.size != len(entry.content) or entry.size > TARGET_BYTES:
        raise InvalidUpload(f"link {shortened(entry.path)} has a target of another size, or of over {TARGET_BYTES}")
    check_target(entry.path, entry.target)


class Totals(NamedTuple):
    """What a tree has in all."""

    members: int
    """Files, links and folders, including folders that are only parents of others."""
    bytes: int


def check_tree(
    entries: Iterable[Entry], *, most_members: int, most_bytes: int, advance: Callable[[], None] = lambda: None
) -> Totals:
    """Check that the entries make a tree from which no link leads out, and that it is within limits.

    `advance` is called for each thousand entries. Raises InvalidUpload, TooLarge.
    """
    folders, others, links, size = {""}, set(), {}, 0
    sizes: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if number % _ADVANCE_ENTRIES == 0:
            advance()
        path, kind, bytes_here, content = entry
        if kind == FOLDER:
            above = path
        else:
            above = path.rpartition("/")[0]
            others.add(path)
            size += bytes_here
            if kind == LINK:
                links[path] = entry.target
            elif sizes.setdefault(content, bytes_here) != bytes_here:
                raise InvalidUpload(f"the manifest has two sizes for the content of {shortened(path)}")
        while above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
        members = len(folders) + len(others) - 1
        if members > most_members or size > most_bytes:
            raise _too_large(entry, most_members if members > most_members else None, most_bytes)
    if not others and len(folders) == 1:
        raise InvalidUpload("the manifest is empty")
    for path in others & folders:
        raise InvalidUpload(f"the manifest has {shortened(path)} both as a file and as a folder")
    check_links(links)
    return Totals(len(folders) + len(others) - 1, size)


def _too_large(last: Entry, most_members: int | None, most_bytes: int) -> TooLarge:
    """Return the error for a tree that has become too large with an entry: by its members, or by its bytes."""
    if most_members is not None:
        return TooLarge(f"the manifest has more than {most_members} files and folders (CI_MAX_MEMBERS)")
    return TooLarge(
        f"with {shortened(last.path)} of {last.size} bytes, the manifest's files have more than {most_bytes} bytes, "
        "the most that is taken (CI_MAX_UNPACKED_BYTES)"
    )
