"""Scans a directory for an upload by manifest: the files of the project with their digests.

What belongs to the project, in which order, and what is refused is the same as in an archive (`archive.py`).
"""

import gc
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path

from ci_client.errors import PackingError
from ci_client.escapes import visible
from ci_client.packing.archive import Progress
from ci_client.packing.memory import Memory, Seen
from ci_client.packing.reading import ReadError, opened, read_link, read_some
from ci_client.packing.tree import LIST_IT, Leaf, Left, OnLeftOut, Tree
from ci_common.manifests.entries import EXECUTABLE, FILE, FOLDER, LINK, NOTHING, Entry
from ci_common.manifests.packs import compressed, frame_sizes, packed

_CHUNK = 1024 * 1024
_BATCH = 32
_MOST_THREADS = 4


@dataclass(slots=True)
class Project:
    """A directory as it was when it was scanned."""

    root: Path
    memory: Memory
    entries: list[Entry]
    """In the order of a manifest."""
    notes: list[str] = field(default_factory=list)
    """What was left out and may be missed: sockets, files that vanished."""
    sent_bytes: int = 0
    """What was sent of it when it was submitted."""

    @property
    def files(self) -> int:
        """The number of files and links."""
        return sum(entry.kind != FOLDER for entry in self.entries)

    @property
    def bytes(self) -> int:
        """The bytes of all files together."""
        return sum(entry.size for entry in self.entries if entry.is_file)


class ProjectChanged(Exception):
    """A file has changed since it was scanned. Scan again."""


def scan_directory(
    root: Path, progress: Progress | None = None, *, trusting: bool = True, on_left_out: OnLeftOut | None = None
) -> Project:
    """Scan a directory. Files that have not changed since the last scan are not read, unless `trusting` is false.

    Raises PackingError, which names the file and what to do, if something cannot be sent.
    """
    memory = Memory.of(root)
    scan = _Scan(root, memory.files if trusting else {}, progress, on_left_out)
    began_ns = time.time_ns()
    try:
        with _no_collections():
            scan.run()
    except OSError as exc:
        raise PackingError(f"cannot read {visible(str(root))}: {exc.strerror or exc}") from exc
    if not any(entry.kind != FOLDER for entry in scan.entries):
        raise PackingError(f"{visible(str(root))} holds no files to send, apart from what is ignored")
    memory.remember(scan.seen, began_ns)
    return Project(root, memory, scan.entries, scan.notes)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep Python from looking for garbage: a scan makes many objects that all stay, so each look takes longer."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


@dataclass(frozen=True, slots=True)
class _Digested:
    status: os.stat_result
    size: int
    sha256: str
    has_grown: bool
    is_settled: bool
    """Whether the file did not change while it was read."""


_Digests = dict[str, "_Digested | OSError"]
"""By path."""


@dataclass(frozen=True, slots=True)
class _Batch:
    items: list[tuple[Leaf | Left, Entry | None]]
    """What was found, with the entries of files that are known."""
    digests: "Future[_Digests] | None"
    """Of the other files."""


class _Scan:
    def __init__(
        self, root: Path, known: dict[str, Seen], progress: Progress | None, on_left_out: OnLeftOut | None
    ) -> None:
        self._root = root
        self._known = known
        self._progress = progress
        self._files = self._bytes = 0
        self._last = ""
        self.entries: list[Entry] = []
        self.seen: dict[str, Seen] = {}
        self.notes: list[str] = []
        self._tree = Tree(root, self.notes, on_left_out)

    def run(self) -> None:
        threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="scan")
        walk, batches = self._tree.walk(), deque[_Batch]()
        try:
            while True:
                while len(batches) < 2 * threads and (items := list(islice(walk, _BATCH))):
                    batches.append(self._begin(items, pool))
                if not batches:
                    return
                batch = batches.popleft()
                digests = batch.digests.result() if batch.digests is not None else {}
                for item, entry in batch.items:
                    self._put(item, entry, digests)
                self._report()
        finally:
            pool.shutdown(cancel_futures=True)

    def _begin(self, items: list[Leaf | Left], pool: ThreadPoolExecutor) -> _Batch:
        """Look up the files that are known, and have the others read."""
        found = [(item, self._known_entry(item) if isinstance(item, Leaf) else None) for item in items]
        unknown = [item for item, entry in found if isinstance(item, Leaf) and not item.is_link and entry is None]
        return _Batch(found, pool.submit(_digest_all, unknown) if unknown else None)

    def _known_entry(self, leaf: Leaf) -> Entry | None:
        known = self._known.get(leaf.path)
        if known is None or leaf.is_link:
            return None
        try:
            status = os.lstat(leaf.location)
        except OSError:
            return None
        if not known.is_same(status) or not stat.S_ISREG(status.st_mode):
            return None
        self.seen[leaf.path] = known
        return _file_entry(leaf, status, known.size, known.sha256)

    def _put(self, item: Leaf | Left, entry: Entry | None, digests: _Digests) -> None:
        if isinstance(item, Left):
            if not self._last.startswith(item.path) and os.path.isdir(item.location):
                self._last = item.path
                self.entries.append(Entry(item.path[:-1], FOLDER, 0, NOTHING))
            return
        try:
            if entry is None:
                entry = self._link(item) if item.is_link else self._file(item, digests[item.path])
        except (FileNotFoundError, NotADirectoryError):
            self.notes.append(f"{visible(item.path)} vanished while packing")
            return
        except ReadError as exc:
            raise PackingError(f"cannot read {visible(item.path)}: {exc}; {LIST_IT}") from exc
        self.entries.append(entry)
        self._last = item.path
        self._files += 1
        self._bytes += entry.size if entry.is_file else 0

    def _link(self, leaf: Leaf) -> Entry:
        target = read_link(leaf)
        self._tree.check_link(leaf.path, os.fsdecode(target))
        return Entry(leaf.path, LINK, len(target), target.hex())

    def _file(self, leaf: Leaf, digested: "_Digested | OSError") -> Entry:
        if isinstance(digested, OSError):
            raise digested
        status = digested.status
        if digested.has_grown:
            self.notes.append(f"{visible(leaf.path)} grew while packing; the bytes that came later are left out")
        elif digested.is_settled:
            self.seen[leaf.path] = Seen(
                digested.size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, digested.sha256
            )
        return _file_entry(leaf, status, digested.size, digested.sha256)

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._files, self._bytes)


def _file_entry(leaf: Leaf, status: os.stat_result, size: int, digest: str) -> Entry:
    return Entry(leaf.path, EXECUTABLE if status.st_mode & 0o111 else FILE, size, digest)


def _digest_all(leaves: list[Leaf]) -> _Digests:
    """Read files, in a worker thread."""
    return {leaf.path: _digested(leaf) for leaf in leaves}


def _digested(leaf: Leaf) -> "_Digested | OSError":
    try:
        with opened(leaf) as (descriptor, status):
            return _digest(descriptor, status)
    except OSError as exc:
        return exc


def _digest(descriptor: int, status: os.stat_result) -> _Digested:
    """Read a file up to its size at first, since it may grow as fast as it is read."""
    digest, size = sha256(), 0
    most = status.st_size or sys.maxsize  # Some file systems do not report the size.
    while chunk := read_some(descriptor, min(_CHUNK, most - size)):
        digest.update(chunk)
        size += len(chunk)
    after = os.fstat(descriptor)
    return _Digested(
        status,
        size,
        digest.hexdigest(),
        has_grown=size == status.st_size < after.st_size,
        is_settled=size == status.st_size
        and (status.st_mtime_ns, status.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns),
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame to be sent: parts of files, one after the other."""

    parts: tuple[tuple[Entry, int, int], ...]
    """A file, and where in it the part begins and ends."""

    @property
    def size(self) -> int:
        return sum(end - begin for _, begin, end in self.parts)


def frames_to_send(entries: Sequence[Entry]) -> list[Frame]:
    """Return the frames that have the contents of these files."""
    frames: list[Frame] = []
    for pack in packed([entry.size for entry in entries]):
        sizes = frame_sizes(sum(entries[number].size for number in pack))
        if len(sizes) == 1:
            frames.append(Frame(tuple((entries[number], 0, entries[number].size) for number in pack)))
            continue
        begin = 0
        for size in sizes:
            frames.append(Frame(((entries[pack.start], begin, begin + size),)))
            begin += size
    return frames


def read_frame(root: Path, frame: Frame) -> bytes:
    """Return a frame as it is sent. Raises ProjectChanged, PackingError."""
    return compressed(b"".join([_read_part(root, *part) for part in frame.parts]))


def _read_part(root: Path, entry: Entry, begin: int, end: int) -> bytes:
    try:
        with opened(Leaf(entry.path, f"{root}/{entry.path}", is_link=False)) as (descriptor, _):
            os.lseek(descriptor, begin, os.SEEK_SET)
            content = b""
            while len(content) < end - begin and (more := read_some(descriptor, end - begin - len(content))):
                content += more
    except ReadError as exc:
        raise PackingError(f"cannot read {visible(entry.path)}: {exc}; {LIST_IT}") from exc
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise ProjectChanged(f"{visible(entry.path)} vanished while it was sent") from exc
    is_whole = end - begin == entry.size
    if len(content) < end - begin or (is_whole and sha256(content).hexdigest() != entry.content):
        raise ProjectChanged(f"{visible(entry.path)} changed while it was sent")
    return content
