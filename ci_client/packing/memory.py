"""What is remembered of a project between submissions, so that what has not changed is neither read nor sent again.

It lies in the user's cache directory. A memory that is damaged, or that cannot be written, is as good as none.

A file counts as unchanged if size, times, inode and permission to execute are the same. As with git's index, that says
nothing of a file that was changed in the moments before it was read: a further change may have left it the same times.
So what had changed less than two seconds before the scan began is read again next time.
"""

import json
import os
import sys
from array import array
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

import zstandard

from ci_common.manifests.entries import Entry, kind_of

_FORMAT = b"4 %s " % sys.byteorder.encode()
"""What the digest of a file begins with, so that one of another format counts as damaged."""
_BYTES = 8
_KINDS = "qqqqQ"
"""How an array keeps size, mode, times and inode, each in so many bytes."""
_MANIFEST = ".manifest"
_SETTLED_NS: Final = 2_000_000_000
"""Longer than the times of any file system are coarse."""
_FEW = 0.01
"""A smaller share of a project's files, with fewer bytes than the next line says, is read again next time."""
_FEW_BYTES = 1024**2
_MOST_PROJECTS = 64
_FILES = 3
"""So many files has a project that is uploaded to one server."""
_MOST_BASES = 4


class Seen(NamedTuple):
    """A file as it was when it was read."""

    entry: Entry
    mode: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, entry: Entry, status: os.stat_result) -> Self:
        """Return the file of an entry that had this status."""
        return cls(entry, status.st_mode, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    def is_same(self, status: os.stat_result) -> bool:
        """Return whether a file with this status has not changed since."""
        entry, mode, modified_ns, changed_ns, inode = self
        return (
            entry.size == status.st_size
            and modified_ns == status.st_mtime_ns
            and changed_ns == status.st_ctime_ns
            and inode == status.st_ino
            and mode == status.st_mode
        )


class Base(NamedTuple):
    """The upload of a job."""

    job_id: str
    manifest_id: str
    """The SHA-256 of its manifest, in hexadecimal digits."""


@dataclass
class Memory:
    """What is known of one directory."""

    root: Path
    files: dict[str, Seen] = field(default_factory=dict)
    """By path below the root. Those that cannot be trusted are not among them."""
    _known_bases: list[list[str]] | None = None
    """What the file with the bases has, once it has been read: server, job and digest of the manifest of each."""

    _kept: tuple[str, str] | None = None
    """The manifest that was kept last, and its SHA-256."""

    @classmethod
    def of(cls, root: Path) -> "Memory":
        """Return what is remembered of a directory."""
        memory = cls(root)
        content = _read(memory._file("files"))
        if content is not None:
            memory.files = _files(content)
        return memory

    def remember(self, files: dict[str, Seen], began_ns: int) -> None:
        """Remember the files of a scan that began at that time by the clock.

        A few changed files are not worth the writing of all: they are read again instead.
        """
        known, settled = self.files, began_ns - _SETTLED_NS
        same = {path: seen for path, seen in files.items() if known.get(path) is seen}
        new = {
            path: seen
            for path, seen in files.items()
            if path not in same and max(seen.modified_ns, seen.changed_ns) < settled
        }
        differing = len(known) - len(same) + sum(path not in known for path in new)
        is_little = differing < _FEW * len(known) and sum(seen.entry.size for seen in new.values()) < _FEW_BYTES
        if differing and not is_little:
            _write(self._file("files"), _content(same | new))
            _forget_oldest(_directory())

    def last_base(self) -> Base | None:
        """Return the last upload to any server, None if none is remembered."""
        known = self._bases()
        return Base(*known[-1][1:]) if known else None

    def base(self, server: str) -> Base | None:
        """Return the last upload to a server, None if none is remembered."""
        found = [known for known in self._bases() if known[0] == server]
        return Base(*found[-1][1:]) if found else None

    def manifest_of(self, base: Base) -> str | None:
        """Return the manifest of an upload, None if it is not there any more."""
        try:
            raw = self._manifest(base.manifest_id).read_bytes()
            text = zstandard.ZstdDecompressor().decompress(raw)
        except (OSError, RuntimeError, zstandard.ZstdError):
            return None
        return text.decode() if sha256(text).hexdigest() == base.manifest_id else None

    def keep_manifest(self, manifest: str) -> str:
        """Keep the manifest of an upload, if that can be done, and return its SHA-256 in hexadecimal digits."""
        if self._kept is None or self._kept[0] is not manifest:
            text = manifest.encode()
            self._kept = manifest, sha256(text).hexdigest()
            if self.manifest_of(Base("", self._kept[1])) is None:
                _replace(self._manifest(self._kept[1]), zstandard.ZstdCompressor(level=1).compress(text))
        return self._kept[1]

    def remember_base(self, server: str, job_id: str, manifest: str) -> None:
        """Remember the last upload to a server."""
        base = Base(job_id, self.keep_manifest(manifest))
        others = [known for known in self._bases() if known[0] != server]
        kept = [*others[1 - _MOST_BASES :], [server, *base]]
        _write(self._file("bases"), json.dumps(kept).encode())
        self._known_bases = None
        self._forget_manifests({manifest_id for _, _, manifest_id in kept})

    def _forget_manifests(self, kept: set[str]) -> None:
        try:
            for path in _directory().glob(f"{self._name}.*{_MANIFEST}"):
                if path.name.split(".")[1] not in kept:
                    path.unlink()
        except (OSError, RuntimeError):
            pass

    def _manifest(self, manifest_id: str) -> Path:
        return self._file(f"{manifest_id}{_MANIFEST}")

    def _bases(self) -> list[list[str]]:
        if self._known_bases is None:
            self._known_bases = json.loads(_read(self._file("bases")) or b"[]")
        return self._known_bases

    def _file(self, what: str) -> Path:
        return _directory() / f"{self._name}.{what}"

    @cached_property
    def _name(self) -> str:
        return sha256(os.fsencode(os.path.realpath(self.root))).hexdigest()[:32]


def _directory() -> Path:
    place = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(place) if os.path.isabs(place) else Path.home() / ".cache") / "ci-server" / "projects"


def _content(files: dict[str, Seen]) -> bytes:
    """Return files as bytes: how many they are, and then sizes, modes, times, inodes, digests and paths of all.

    JSON takes twice the time to read, which would be a part of each submission.
    """
    numbers = [(entry.size, *rest) for entry, *rest in files.values()]
    columns = [array(kind, column) for kind, column in zip(_KINDS, zip(*numbers, strict=True), strict=bool(numbers))]
    digests = bytes.fromhex("".join([seen.entry.content for seen in files.values()]))
    count = len(files).to_bytes(_BYTES, sys.byteorder)
    return b"".join([count, *columns, digests, "\0".join(files).encode()])


def _files(content: bytes) -> dict[str, Seen]:
    """Return the files of which `_content` made this."""
    count = int.from_bytes(content[:_BYTES], sys.byteorder)
    if not count:
        return {}
    columns, place = [], _BYTES
    for kind in _KINDS:
        columns.append(array(kind, content[place : place + _BYTES * count]))
        place += _BYTES * count
    sizes, modes, *others = columns
    end = place + sha256().digest_size * count
    digests, paths = content[place:end].hex(), content[end:].decode().split("\0")
    contents = [digests[begin : begin + 64] for begin in range(0, len(digests), 64)]
    kinds = [kind_of(mode) for mode in modes]
    entries = map(Entry._make, zip(paths, kinds, sizes, contents, strict=True))
    return dict(zip(paths, map(Seen._make, zip(entries, modes, *others, strict=True)), strict=True))


def _read(path: Path) -> bytes | None:
    """Return the content of a file; None if there is none that is whole."""
    try:
        raw = path.read_bytes()
    except (OSError, RuntimeError):  # The last one: there is no home directory.
        return None
    digest, content = raw[: sha256().digest_size], raw[sha256().digest_size :]
    return content if sha256(_FORMAT + content).digest() == digest else None


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, if that can be done."""
    _replace(path, sha256(_FORMAT + content).digest() + content)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.rename(path)
    except (OSError, RuntimeError):
        pass


def _forget_oldest(directory: Path) -> None:
    try:
        files = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[: -_FILES * _MOST_PROJECTS]:
            path.unlink()
    except OSError:
        pass
