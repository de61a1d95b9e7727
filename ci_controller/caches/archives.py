"""Checks an archive that a job has packed, without unpacking it and without trusting anything in it.

Only what `tar` makes of files, directories and links of one tree is taken: no device, FIFO or sparse file, no name
outside of the tree, and nothing below a link. So it cannot write anywhere else, whatever unpacks it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from ci_common.parsing.text import shown

MOST_ENTRIES = 200_000
_BLOCK = 512
_LONGEST_NAME = 64 * 1024
"""Bytes of an entry that only has the name of the following one."""
_LONGEST_END = 1024**2
"""Bytes of zeros at the end: a block of `tar`."""
_FILE, _HARD_LINK, _LINK, _FOLDER = b"0", b"1", b"2", b"5"
_NAMING = _LONG_NAME, _LONG_TARGET, _EXTENDED = b"L", b"K", b"x"
"""Entries that only say something of the following one."""


class UnsafeArchive(Exception):
    """The archive is not kept. The message says why."""


@dataclass(slots=True)
class _Entry:
    kind: bytes
    name: str
    target: str


def check_archive(descriptor: int, name: str) -> int:
    """Return how many entries an archive has, all of which are `name` or below it.

    Raises UnsafeArchive, OSError.
    """
    tree = _Tree(name)
    count = 0
    for entry in _entries(descriptor):
        count += 1
        if count > MOST_ENTRIES:
            raise UnsafeArchive(f"it has more than {MOST_ENTRIES} files")
        tree.add(entry)
    if not count:
        raise UnsafeArchive("it is empty")
    return count


@dataclass(slots=True)
class _Tree:
    """What of an archive has been seen, as far as later entries could misuse it."""

    name: str
    files: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)

    def add(self, entry: _Entry) -> None:
        path = self._path(entry.name)
        if path in self.links or any(above in self.links for above in _above(path)):
            raise UnsafeArchive(f"{shown(path)} is below a link, or in the place of one")
        if entry.kind == _LINK:
            if path == self.name:
                raise UnsafeArchive(f"{shown(path)} is a link")
            self.links.add(path)
        elif entry.kind == _HARD_LINK:
            target = self._path(entry.target)
            if target not in self.files:
                raise UnsafeArchive(f"{shown(path)} is a hard link to what is not a file before it in the archive")
            self.files.add(path)
        elif entry.kind == _FILE:
            self.files.add(path)

    def _path(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or not parts or parts[0] != self.name:
            raise UnsafeArchive(f"{shown(name)} is not {self.name} or below it")
        return "/".join(parts)


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _entries(descriptor: int) -> Iterator[_Entry]:
    position, end = 0, os.fstat(descriptor).st_size
    names: dict[bytes, bytes] = {}
    """What stands before an entry and is too long for its header, by its kind."""
    while position < end:
        header = os.pread(descriptor, _BLOCK, position)
        if header == bytes(_BLOCK):
            if end - position > _LONGEST_END or any(os.pread(descriptor, _LONGEST_END, position)):
                raise UnsafeArchive("something follows its end")
            return
        if len(header) < _BLOCK or not _is_whole(header):
            raise UnsafeArchive(f"what stands at byte {position} is not the header of an entry")
        kind, size = header[156:157].replace(b"\0", _FILE), _number(header[124:136])
        following = position + _BLOCK + -(-size // _BLOCK) * _BLOCK
        if following > end:
            raise UnsafeArchive("it ends within a file")
        if kind in _NAMING:
            given = _names(descriptor, kind, size, position + _BLOCK)
            if given.keys() & names.keys():
                raise UnsafeArchive("an entry has two names")  # Which of them counts depends on what reads it.
            names |= given
        else:
            yield _entry(header, kind, size, names)
            names = {}
        position = following
    raise UnsafeArchive("it does not end as an archive does")


def _entry(header: bytes, kind: bytes, size: int, names: dict[bytes, bytes]) -> _Entry:
    name = _decoded(names.get(_LONG_NAME, _name_of(header)))
    if kind not in (_FILE, _HARD_LINK, _LINK, _FOLDER):
        raise UnsafeArchive(f"{shown(name)} is not a file, a directory or a link")
    if kind != _FILE and size:
        raise UnsafeArchive(f"{shown(name)} is not a file, and has content")
    return _Entry(kind, name, _decoded(names.get(_LONG_TARGET, _text(header[157:257]))))


def _names(descriptor: int, kind: bytes, size: int, position: int) -> dict[bytes, bytes]:
    if size > _LONGEST_NAME:
        raise UnsafeArchive(f"an entry has a name of {size} bytes")
    content = os.pread(descriptor, size, position)
    return _records(content) if kind == _EXTENDED else {kind: content.rstrip(b"\0")}


def _is_whole(header: bytes) -> bool:
    return sum(header[:148]) + 8 * ord(" ") + sum(header[156:]) == _number(header[148:156])


def _number(text: bytes) -> int:
    if text[0] == 0x80:  # Sizes that do not fit are in base 256.
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b"\0 ") or b"0"
    if digits.strip(b"01234567"):
        raise UnsafeArchive("an entry has a number that is not one")
    return int(digits, 8)


def _name_of(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return prefix + b"/" + name if header[257:263] == b"ustar\0" and prefix else name


def _records(content: bytes) -> dict[bytes, bytes]:
    """Return the names of an extended header, as those of GNU's have them. Raises UnsafeArchive for a size in it."""
    found: dict[bytes, bytes] = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            raise UnsafeArchive("an extended header is damaged")
        key, _, value = content[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise UnsafeArchive("it has a sparse file, or one whose size stands elsewhere")
        if key in (b"path", b"linkpath"):
            found[_LONG_NAME if key == b"path" else _LONG_TARGET] = value
        content = content[int(length) :]
    return found


def _text(padded: bytes) -> bytes:
    return padded.partition(b"\0")[0]


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
