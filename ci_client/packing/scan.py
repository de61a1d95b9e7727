"""Scans a directory for an upload by manifest: the files of the project with their digests.

What belongs to the project, in which order, and what is refused is the same as in an archive (`archive.py`).
"""

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import cast

from ci_client.errors import PackingError
from ci_client.escapes import visible
from ci_client.packing.ahead import Ahead
from ci_client.packing.digests import Digested, Digests, Reader
from ci_client.packing.frames import Begun, Frame, read_frame
from ci_client.packing.ignore import IGNORE_FILES, Cause
from ci_client.packing.memory import Memory, Seen
from ci_client.packing.reading import ReadError, read_link
from ci_client.packing.tree import LIST_IT, Known, Leaf, Left, OnLeftOut, Progress, Tree
from ci_common.manifests.entries import FILES, FOLDER, LINK, NOTHING, Entry, kind_of, manifest_text

_BATCH = 32
_MOST_THREADS = 4
_REPORT_SECONDS = 0.05


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
    begun: Begun | None = None
    """What a server has begun to receive of it."""
    ahead: Ahead | None = None
    """The frames that were made while it was scanned."""
    _written: tuple[list[Entry], str, str] | None = None
    """The entries whose manifest has been written, that, and its digest."""

    @property
    def files(self) -> int:
        """The number of files and links."""
        return len(self.entries) - [kind for _, kind, _, _ in self.entries].count(FOLDER)

    @property
    def manifest(self) -> str:
        """The text of the manifest."""
        return self._manifest()[0]

    @property
    def manifest_id(self) -> str:
        """The digest of the manifest."""
        return self._manifest()[1]

    def _manifest(self) -> tuple[str, str]:
        if self._written is None or self._written[0] is not self.entries:
            text = manifest_text(self.entries)
            self._written = self.entries, text, sha256(text.encode()).hexdigest()
        return self._written[1:]

    def frame(self, frame: Frame) -> bytes:
        """Return a frame as it is sent. Raises ProjectChanged, PackingError."""
        made = None if self.ahead is None else self.ahead.taken(frame)
        return read_frame(self.root, frame) if made is None else made

    @property
    def bytes(self) -> int:
        """The bytes of all files together."""
        return sum([size for _, kind, size, _ in self.entries if kind in FILES])


def scan_directory(
    root: Path,
    progress: Progress | None = None,
    *,
    trusting: bool = True,
    to_send: bool = False,
    on_left_out: OnLeftOut | None = None,
) -> Project:
    """Scan a directory. Files that have not changed since the last scan are not read, unless `trusting` is false.

    With `to_send`, what will be sent of a directory that was never scanned is compressed at the same time.
    Raises PackingError, which names the file and what to do, if something cannot be sent.
    """
    with _no_collections():
        memory = Memory.of(root)
        ahead = Ahead(root) if to_send and not memory.files else None
        scan = _Scan(root, memory.files if trusting else {}, progress, on_left_out, ahead)
        began_ns = time.time_ns()
        try:
            scan.run()
        except OSError as exc:
            raise PackingError(f"cannot read {visible(str(root))}: {exc.strerror or exc}") from exc
        if not any(entry.kind != FOLDER for entry in scan.entries):
            raise PackingError(f"{visible(str(root))} holds no files to send, apart from what is ignored")
        memory.remember(scan.seen, began_ns)
    return Project(root, memory, scan.entries, scan.notes, ahead=ahead)


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
class _Batch:
    items: list[Leaf | Left | Entry]
    """What was found: files that are known as their entries."""
    are_known: bool
    """Whether nothing else is among them."""
    digests: Callable[[], Digests]
    """Returns those of the other files."""


class _Scan:
    def __init__(
        self,
        root: Path,
        known: dict[str, Seen],
        progress: Progress | None,
        on_left_out: OnLeftOut | None,
        ahead: Ahead | None,
    ) -> None:
        self._root = root
        self._known = known
        self._progress = progress
        self._reported = self._files = self._bytes = 0
        self._report_at = 0.0
        self.entries: list[Entry] = []
        self.seen: dict[str, Seen] = {}
        self.notes: list[str] = []
        self._on_left_out = on_left_out
        self._ahead = ahead
        self._tree = Tree(root, self.notes, self._note_left_out)

    def run(self) -> None:
        threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        walk, batches = self._tree.walk_recognizing(self._recognize), deque[_Batch]()
        with Reader(threads, keeping=self._ahead is not None) as reader:
            while True:
                while len(batches) < 2 * threads and (items := list(islice(walk, _BATCH))):
                    others = [item for item in items if not isinstance(item, Entry)]
                    unread = [item for item in others if isinstance(item, Leaf) and not item.is_link]
                    batches.append(_Batch(items, not others, reader.begin(unread)))
                if not batches:
                    break
                batch = batches.popleft()
                self._put_all(batch)
                if time.monotonic() >= self._report_at:
                    self._report()
        self._report()
        if self._ahead is not None:
            self._ahead.end()

    def _recognize(self, directory: str, entries: Sequence[os.DirEntry[str]]) -> Known[Entry]:
        """Return those of the entries of a directory that were files, and still are these files."""
        known, found, has_same_rules = self._known, dict[str, Entry](), True
        for entry in entries:
            name = entry.name
            path = directory + name
            file = known.get(path)
            if file is None:
                has_same_rules = has_same_rules and name not in IGNORE_FILES
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if file.is_same(status):
                self.seen[path] = file
                found[name] = file.entry
        for name in IGNORE_FILES:
            has_same_rules = has_same_rules and (name in found) == (directory + name in known)
        return Known(found, has_same_rules)

    def _note_left_out(self, path: str, cause: Cause) -> None:
        self.seen.pop(path, None)
        if self._on_left_out is not None:
            self._on_left_out(path, cause)

    def _put_all(self, batch: _Batch) -> None:
        if batch.are_known:
            self.entries += cast("list[Entry]", batch.items)
            return
        digests = batch.digests()
        for item in batch.items:
            if isinstance(item, Entry):
                self.entries.append(item)
            else:
                self._put(item, digests)

    def _put(self, item: Leaf | Left, digests: Digests) -> None:
        if isinstance(item, Left):
            is_empty = not self.entries or not self.entries[-1].path.startswith(item.path)
            if is_empty and os.path.isdir(item.location):
                self.entries.append(Entry(item.path[:-1], FOLDER, 0, NOTHING))
            return
        try:
            self.entries.append(self._link(item) if item.is_link else self._file(item, digests[item.path]))
        except (FileNotFoundError, NotADirectoryError):
            self.notes.append(f"{visible(item.path)} vanished while packing")
        except ReadError as exc:
            raise PackingError(f"cannot read {visible(item.path)}: {exc}; {LIST_IT}") from exc

    def _link(self, leaf: Leaf) -> Entry:
        target = read_link(leaf)
        self._tree.check_link(leaf.path, os.fsdecode(target))
        return Entry(leaf.path, LINK, len(target), target.hex())

    def _file(self, leaf: Leaf, digested: "Digested | OSError") -> Entry:
        if isinstance(digested, OSError):
            raise digested
        entry = Entry(leaf.path, kind_of(digested.status.st_mode), digested.size, digested.sha256)
        if digested.has_grown:
            self.notes.append(f"{visible(leaf.path)} grew while packing; the bytes that came later are left out")
        elif digested.is_settled:
            self.seen[leaf.path] = Seen.of(entry, digested.status)
        if self._ahead is not None:
            self._ahead.put(entry, digested.content)
        return entry

    def _report(self) -> None:
        if self._progress is not None:
            new = [(kind, size) for _, kind, size, _ in self.entries[self._reported :] if kind != FOLDER]
            self._reported = len(self.entries)
            self._files += len(new)
            self._bytes += sum([size for kind, size in new if kind != LINK])
            self._progress(self._files, self._bytes)
        self._report_at = time.monotonic() + _REPORT_SECONDS
