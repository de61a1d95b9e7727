"""What is remembered of a project between submissions, so that what has not changed is neither read nor sent again.

It lies in the user's cache directory. A memory that is damaged, or that cannot be written, is as good as none.

A file counts as unchanged if size, times, inode and permission to execute are the same. As with git's index, that says
nothing of a file that was changed in the moments before it was read: a further change may have left it the same times.
So what had changed less than two seconds before the scan began is read again next time.
"""

import json
import os
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import zstandard

from ci_common.manifests.entries import Entry, manifest_id, manifest_text

_FORMAT = 1
_SETTLED_NS: Final = 2_000_000_000
"""Longer than the times of any file system are coarse."""
_MOST_PROJECTS = 64
_MOST_BASES = 4


class Seen(NamedTuple):
    """A file as it was when it was read."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    sha256: str

    def is_same(self, status: os.stat_result) -> bool:
        """Return whether a file with this status has not changed since."""
        now = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        return self[:4] == now


class Base(NamedTuple):
    """The upload of a job."""

    job_id: str
    manifest_id: str
    manifest: bytes
    """Compressed."""

    @classmethod
    def of(cls, job_id: str, entries: list[Entry]) -> "Base":
        """Return the base that is made of a job's manifest."""
        raw = zstandard.ZstdCompressor(level=1).compress(manifest_text(entries).encode())
        return cls(job_id, manifest_id(entries), raw)

    def entries(self) -> dict[str, Entry]:
        """Return its entries by path."""
        text = zstandard.ZstdDecompressor().decompress(self.manifest).decode()
        lines = (line.split(" ", 3) for line in text.split("\n")[:-1])
        return {path: Entry(path, kind, int(size), content) for kind, size, content, path in lines}


@dataclass
class Memory:
    """What is known of one directory."""

    root: Path
    files: dict[str, Seen] = field(default_factory=dict)
    """By path below the root. Those that cannot be trusted are not among them."""

    @classmethod
    def of(cls, root: Path) -> "Memory":
        """Return what is remembered of a directory."""
        memory = cls(root)
        document = _read(memory._file("files"))
        if document is not None:
            memory.files = {path: Seen(*seen) for path, seen in document.items()}
        return memory

    def remember(self, files: dict[str, Seen], began_ns: int) -> None:
        """Remember the files of a scan that began at that time by the clock."""
        settled = began_ns - _SETTLED_NS
        kept = {path: seen for path, seen in files.items() if max(seen.modified_ns, seen.changed_ns) < settled}
        if kept != self.files:
            _write(self._file("files"), kept)
            _forget_oldest(_directory())

    def last_base(self) -> Base | None:
        """Return the last upload to any server, None if none is remembered."""
        known = _read(self._file("bases")) or []
        return Base(known[-1][1], known[-1][2], bytes.fromhex(known[-1][3])) if known else None

    def base(self, server: str) -> Base | None:
        """Return the last upload to a server, None if none is remembered."""
        found: Base | None = None
        for known, job_id, manifest, raw in _read(self._file("bases")) or []:
            if known == server:
                found = Base(job_id, manifest, bytes.fromhex(raw))
        return found

    def remember_base(self, server: str, base: Base) -> None:
        """Remember the last upload to a server."""
        others = [known for known in _read(self._file("bases")) or [] if known[0] != server]
        new = [server, base.job_id, base.manifest_id, base.manifest.hex()]
        _write(self._file("bases"), [*others[1 - _MOST_BASES :], new])

    def _file(self, what: str) -> Path:
        return _directory() / f"{sha256(os.fsencode(os.path.realpath(self.root))).hexdigest()[:32]}.{what}"


def _directory() -> Path:
    place = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(place) if os.path.isabs(place) else Path.home() / ".cache") / "ci-server" / "projects"


def _read(path: Path) -> Any:
    """Return the document in a file; None if there is none that is whole."""
    try:
        raw = path.read_bytes()
        digest, content = raw[:64], raw[64:]
        if sha256(content).hexdigest().encode() != digest:
            return None
        version, document = json.loads(content)
    except (OSError, ValueError, RuntimeError):  # The last one: there is no home directory.
        return None
    return document if version == _FORMAT else None


def _write(path: Path, document: object) -> None:
    """Write a document, whole or not at all, if that can be done."""
    content = json.dumps([_FORMAT, document], separators=(",", ":")).encode()
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_bytes(sha256(content).hexdigest().encode() + content)
        draft.rename(path)
    except (OSError, RuntimeError):
        pass


def _forget_oldest(directory: Path) -> None:
    try:
        files = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[: -2 * _MOST_PROJECTS]:
            path.unlink()
    except OSError:
        pass
