"""Packs a directory as it is, dirty or not, into a zip archive on disk. `ignore.py` decides what belongs to it.

The archive keeps permission bits, empty directories and symbolic links that stay in the tree. The same tree gives the
same bytes. The archive has no name in the file system, so it disappears however the process ends.

Threads read and compress small files in batches; the archive has them in the order of the tree. The writing thread
compresses large files while it reads them.
"""

import errno
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ci_client.errors import ArchiveNotWritten, PackingError
from ci_client.escapes import visible
from ci_client.packing.reading import ReadError, opened, read_link, read_some
from ci_client.packing.tree import LIST_IT, Leaf, Left, Progress, Tree, is_directory
from ci_client.packing.zipwriter import DEFLATED, STORED, About, Content, ZipWriter, is_worth_compressing

_CHUNK = 1024 * 1024
_SMALL = 256 * 1024
_BATCH = 32
_MOST_THREADS = 4
_MAY_BE_LARGE = 1024**3
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(slots=True)
class Archive:
    """A project as a zip archive, open for reading. Close `file` when done."""

    file: BinaryIO
    files: int | None = None
    """The number of files and links in it; None if the project was a zip file."""
    unpacked_bytes: int | None = None
    notes: list[str] = field(default_factory=list)
    """What was left out and may be missed: sockets, files that vanished while packing."""

    @property
    def size(self) -> int:
        """The archive's length in bytes."""
        return os.fstat(self.file.fileno()).st_size


@contextmanager
def open_project(path: Path, progress: Progress | None = None) -> Iterator[Archive]:
    """Yield the project at `path` as an archive: a directory is packed, a zip file is used as it is.

    Raises PackingError and ArchiveNotWritten.
    """
    archive = pack_directory(path, progress) if is_directory(path) else _open_archive(path)
    with archive.file:
        yield archive


def pack_directory(root: Path, progress: Progress | None = None) -> Archive:
    """Pack a directory.

    Raises PackingError, which names the file and what to do, if something cannot be packed, and ArchiveNotWritten if
    the disk for temporary files has no space for the archive.
    """
    try:
        # Where the system can, it has no name from the start. The caller closes it.
        file = tempfile.TemporaryFile(prefix="ci-project-", suffix=".zip")  # noqa: SIM115
    except OSError as exc:
        raise ArchiveNotWritten(_not_written(exc)) from exc
    try:
        packer = _Packer(root, file, progress)
        packer.pack()
        file.seek(0)
    except OSError as exc:
        with suppress(OSError):
            file.close()  # Writing the rest of its buffer fails, too.
        if exc.errno in _NO_ROOM:
            raise ArchiveNotWritten(_not_written(exc)) from exc
        raise PackingError(f"cannot pack {visible(str(root))}: {exc.strerror or exc}") from exc
    except BaseException:
        with suppress(OSError):
            file.close()
        raise
    return Archive(file, packer.files, packer.bytes, packer.notes)


def _not_written(error: OSError) -> str:
    directory = tempfile.tempdir or "the directory for temporary files"
    return (
        f"cannot write the project's archive to {visible(str(directory))}: {error.strerror or error}; "
        "free some space, or name another directory with TMPDIR"
    )


def _open_archive(path: Path) -> Archive:
    if path.suffix.lower() != ".zip" or not path.is_file():
        raise PackingError(f"{visible(str(path))} is neither a directory nor a .zip file")
    try:
        return Archive(path.open("rb"))
    except OSError as exc:
        raise PackingError(f"cannot read {visible(str(path))}: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class _Small:
    """A small file or a link that was read."""

    about: About
    content: Content


_Outcome = _Small | OSError | None
"""None stands for a file that is too large for memory."""
_Batch = list[tuple[Leaf | Left, _Outcome]]


class _Packer:
    def __init__(self, root: Path, file: BinaryIO, progress: Progress | None) -> None:
        self._root = root
        self._zip = ZipWriter(file)
        self._progress = progress
        self._last = ""
        self.files = 0
        self.bytes = 0
        self.notes: list[str] = []
        self._tree = Tree(root, self.notes)

    def pack(self) -> None:
        threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="pack")
        try:
            self._pack_all(pool, 2 * threads)
        finally:
            pool.shutdown(cancel_futures=True)
        if self.files == 0:
            raise PackingError(f"{visible(str(self._root))} holds no files to send, apart from what is ignored")
        self._zip.close()

    def _pack_all(self, pool: ThreadPoolExecutor, ahead: int) -> None:
        walk = self._tree.walk()
        batches: deque[Future[_Batch]] = deque()
        while True:
            while len(batches) < ahead and (batch := list(islice(walk, _BATCH))):
                batches.append(pool.submit(_read_batch, batch))
            if not batches:
                return
            for item, outcome in batches.popleft().result():
                self._put(item, outcome)

    def _put(self, item: Leaf | Left, outcome: _Outcome) -> None:
        if isinstance(item, Left):
            if not self._last.startswith(item.path):
                self._empty_directory(item)
            return
        try:
            if isinstance(outcome, OSError):
                raise outcome
            self._leaf(item, outcome)
        except (FileNotFoundError, NotADirectoryError):
            self.notes.append(f"{visible(item.path)} vanished while packing")
            return
        except ReadError as exc:
            raise PackingError(f"cannot read {visible(item.path)}: {exc}; {LIST_IT}") from exc
        self.files += 1
        self._last = item.path
        self._report()

    def _leaf(self, leaf: Leaf, outcome: _Small | None) -> None:
        if outcome is None:
            self._large(leaf)
            return
        if leaf.is_link:
            self._tree.check_link(leaf.path, os.fsdecode(outcome.content.data))
        else:
            self.bytes += outcome.content.size
        self._zip.add(outcome.about, outcome.content)

    def _empty_directory(self, left: Left) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(left.location)
            self._zip.add(About(left.path, status.st_mode, status.st_mtime), Content.of(b""))
            self._last = left.path

    def _large(self, leaf: Leaf) -> None:
        """Pack a file while reading it, up to its size at first, since it may grow as fast as it is read."""
        with opened(leaf) as (descriptor, status):
            about = About(leaf.path, status.st_mode, status.st_mtime)
            left = status.st_size or sys.maxsize  # Some file systems do not report the size.
            chunk = read_some(descriptor, min(_CHUNK, left))
            method = DEFLATED if is_worth_compressing(chunk) else STORED
            member = self._zip.begin(about, may_be_large=status.st_size > _MAY_BE_LARGE, method=method)
            try:
                while chunk:
                    member.write(chunk)
                    self.bytes += len(chunk)
                    self._report()
                    left -= len(chunk)
                    chunk = read_some(descriptor, min(_CHUNK, left))
            except OverflowError as exc:
                raise PackingError(f"{visible(leaf.path)} grows too quickly to be packed; {LIST_IT}") from exc
            member.close()
            if left == 0 and os.fstat(descriptor).st_size > status.st_size:
                self.notes.append(f"{visible(leaf.path)} grew while packing; the bytes that came later are left out")

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self.files, self.bytes)


def _read_batch(items: list[Leaf | Left]) -> _Batch:
    """Read and compress small files, in a worker thread."""
    return [(item, None if isinstance(item, Left) else _read_leaf(item)) for item in items]


def _read_leaf(leaf: Leaf) -> _Outcome:
    try:
        return _read_link(leaf) if leaf.is_link else _read_small(leaf)
    except (FileNotFoundError, NotADirectoryError, ReadError) as exc:
        return exc
    except OSError as exc:
        return ReadError(exc.strerror or str(exc))


def _read_link(leaf: Leaf) -> _Outcome:
    status = os.lstat(leaf.location)
    return _Small(About(leaf.path, status.st_mode, status.st_mtime), Content.stored(read_link(leaf)))


def _read_small(leaf: Leaf) -> _Outcome:
    with opened(leaf) as (descriptor, status):
        if status.st_size > _SMALL:
            return None
        raw = os.read(descriptor, status.st_size + 1)
        while len(raw) <= _SMALL and (more := os.read(descriptor, _SMALL)):
            raw += more
        if len(raw) > _SMALL:
            return None
        return _Small(About(leaf.path, status.st_mode, status.st_mtime), Content.of(raw))
