"""A stored upload: its tree and the packs with its contents, in one directory that never changes.

<upload>/
  tree             three compressed frames: its head as JSON, its manifest, and the place of each content as JSON
  <pack>           a pack; its name is the SHA-256 of the digests of the files in it

A pack that several uploads need has a hard link in the directory of each. So the file system counts who needs it, and
it goes with the last directory. No job ever sees these directories.
"""

import json
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

import zstandard

from ci_common.errors import InvalidUpload
from ci_common.manifests.entries import FILES, Entry, manifest_text, stored_entries
from ci_common.manifests.packs import LENGTH

TREE: Final = "tree"
_LEVEL = 1
_NOWHERE = (-1, 0)
"""In place of a pack and an offset: what has no content."""


@dataclass(slots=True)
class Pack:
    """A pack of an upload."""

    name: str
    size: int
    """Bytes of the contents."""
    sha256: str = ""
    """Of the pack itself; empty until it is received."""


@dataclass
class Tree:
    """The tree of an upload."""

    owner: str
    """The identity that sent it."""
    project: str
    """The project that the request named; empty for none."""
    entries: list[Entry]
    """In the order of a manifest."""
    packs: list[Pack] = field(default_factory=list)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By digest of a content: the number of its pack and the offset in it. Contents without bytes have no place."""
    members: int = 0
    """How many files, links and folders it has, including folders that are only parents of others."""

    @cached_property
    def manifest(self) -> str:
        return manifest_text(self.entries)

    @cached_property
    def id(self) -> str:
        return sha256(self.manifest.encode()).hexdigest()

    @cached_property
    def contents(self) -> dict[str, int]:
        """The sizes of the contents that have bytes, by digest."""
        return {content: size for _, kind, size, content in self.entries if size and kind in FILES}

    @property
    def size(self) -> int:
        return sum([size for _, _, size, _ in self.entries])

    def may_be_used_by(self, owner: str, project: str) -> bool:
        """Return whether a caller has shown, by sending them, that it has these files."""
        return (self.owner, self.project) == (owner, project)

    def files_in(self, pack: int) -> list[tuple[int, Entry]]:
        """Return the offset and the entry of each file whose content is in the pack of that number, in order."""
        return sorted(self._by_pack[pack])

    @cached_property
    def _by_pack(self) -> list[list[tuple[int, Entry]]]:
        by_pack: list[list[tuple[int, Entry]]] = [[] for _ in self.packs]
        for entry in self.entries:
            if entry.size and entry.kind in FILES:
                pack, offset = self.places[entry.content]
                by_pack[pack].append((offset, entry))
        return by_pack

    def write(self, directory: Path) -> None:
        """Write the tree, whole or not at all. Raises OSError."""
        head = Head(self.owner, self.project, self.packs, self.members, self.size, self.id)
        of = self.places.get
        places = [of(content, _NOWHERE) if kind in FILES else _NOWHERE for _, kind, _, content in self.entries]
        manifest, columns = self.manifest.encode(), [[pack for pack, _ in places], [offset for _, offset in places]]
        _replace(directory / TREE, head.framed() + _framed(manifest) + _framed_json(columns))


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a stored upload without reading its entries."""

    owner: str
    project: str
    packs: list[Pack]
    members: int
    size: int
    tree_id: str

    def framed(self) -> bytes:
        """Return it as a tree begins with it."""
        packs = [[pack.name, pack.size, pack.sha256] for pack in self.packs]
        return _framed_json(
            {
                "owner": self.owner,
                "project": self.project,
                "packs": packs,
                "members": self.members,
                "size": self.size,
                "tree_id": self.tree_id,
            }
        )


def write_head(directory: Path, head: Head) -> None:
    """Give a stored upload another head, whole or not at all. Raises OSError."""
    with (directory / TREE).open("rb") as file:
        file.seek(LENGTH.unpack(file.read(LENGTH.size))[0], os.SEEK_CUR)
        entries = file.read()
    _replace(directory / TREE, head.framed() + entries)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.write_bytes(content)
    draft.rename(path)


def read_head(directory: Path) -> Head:
    """Return the head of a stored upload. Raises InvalidUpload if it is damaged, FileNotFoundError, OSError."""
    with (directory / TREE).open("rb") as file, _blaming(directory):
        return _head(_unframed_json(file))


def read_tree(directory: Path) -> Tree:
    """Return the tree of a stored upload. Raises InvalidUpload if it is damaged, FileNotFoundError, OSError."""
    with (directory / TREE).open("rb") as file, _blaming(directory):
        head, manifest, columns = _head(_unframed_json(file)), _unframed(file).decode(), _unframed_json(file)
        entries = stored_entries(manifest)
        places = {
            entry.content: place
            for entry, place in zip(entries, zip(*columns, strict=True), strict=True)
            if place != _NOWHERE
        }
        return Tree(head.owner, head.project, entries, head.packs, places, head.members)


def _framed_json(document: Any) -> bytes:
    return _framed(json.dumps(document, separators=(",", ":")).encode("ascii"))


def _framed(content: bytes) -> bytes:
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content)
    return LENGTH.pack(len(frame)) + frame


def _unframed_json(file: BinaryIO) -> Any:
    return json.loads(_unframed(file))


def _unframed(file: BinaryIO) -> bytes:
    length = LENGTH.unpack(file.read(LENGTH.size))[0]
    return zstandard.ZstdDecompressor().decompress(file.read(length))


def _head(document: dict[str, Any]) -> Head:
    return Head(**{**document, "packs": [Pack(*pack) for pack in document["packs"]]})


@contextmanager
def _blaming(directory: Path) -> Iterator[None]:
    try:
        yield
    except (zstandard.ZstdError, struct.error, ValueError, KeyError, IndexError, TypeError) as exc:
        raise InvalidUpload(f"the stored tree {directory / TREE} is damaged: {exc}") from exc


def link_file(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where the file system cannot do that. Raises FileNotFoundError, OSError."""
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        shutil.copyfile(source, target)


def link_upload(source: Path, target: Path) -> None:
    """Make `target` another directory of the upload. Raises FileNotFoundError if there is none at `source`, OSError."""
    names = os.listdir(source)
    target.mkdir()
    for name in names:
        link_file(source / name, target / name)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
