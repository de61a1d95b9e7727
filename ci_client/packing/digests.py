"""Reads files for their digests, in threads where that is quicker.

Short files that are in memory are read most quickly by one thread: several only wait for each other, since Python runs
one of them at a time.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from ci_client.packing.reading import opened, read_some
from ci_client.packing.tree import Leaf

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_CHUNK = 1024 * 1024
_FEW = 4
"""So many files are read without threads, which take longer to import than to read a few files."""
_LOOK_SECONDS = 0.05
_WAITING = 2.0
"""From so many seconds for each second of processor time on, the disk is what is waited for."""
_LONG_BYTES = 256 * 1024
"""Files of more bytes are read in parallel: their digests need no lock of Python's."""


@dataclass(frozen=True, slots=True)
class Digested:
    """What was read of a file."""

    status: os.stat_result
    size: int
    sha256: str
    has_grown: bool
    is_settled: bool
    """Whether the file did not change while it was read."""
    content: bytes | None
    """What was read, where that is wanted and not long."""


Digests = dict[str, "Digested | OSError"]
"""By path."""


class Reader:
    """Reads files: in threads, once it has turned out that they are long, or that the disk is waited for."""

    def __init__(self, threads: int, *, keeping: bool) -> None:
        """With `keeping`, the contents of files that are not long are kept."""
        self._threads = threads
        self._keeping = keeping
        self._pool: ThreadPoolExecutor | None = None
        self._pace = _Pace()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, leaves: list[Leaf]) -> Callable[[], Digests]:
        """Read files, or begin to read them, and return what returns their digests."""
        if len(leaves) > _FEW and self._pace.wants_threads:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="scan")
            return self._pool.submit(_digest_all, leaves, keeping=self._keeping).result
        with self._pace.measured() as sizes:
            digests = _digest_all(leaves, keeping=self._keeping)
            sizes += [each.size for each in digests.values() if isinstance(each, Digested)]
        return lambda: digests


class _Pace:
    """Finds out whether threads would read more quickly than the one that does."""

    def __init__(self) -> None:
        self.wants_threads = False
        self._seconds = self._busy = 0.0
        self._files = self._bytes = 0

    @contextmanager
    def measured(self) -> Iterator[list[int]]:
        """Measure the block, which reads files and puts their sizes into the list."""
        sizes: list[int] = []
        seconds, busy = time.perf_counter(), time.thread_time()
        yield sizes
        self._seconds += time.perf_counter() - seconds
        self._busy += time.thread_time() - busy
        self._files += len(sizes)
        self._bytes += sum(sizes)
        if self._seconds >= _LOOK_SECONDS:
            waits = self._seconds > _WAITING * self._busy
            self.wants_threads = waits or self._bytes > _LONG_BYTES * self._files
            self._seconds = self._busy = 0.0
            self._files = self._bytes = 0


def _digest_all(leaves: list[Leaf], *, keeping: bool) -> Digests:
    """Read files."""
    return {leaf.path: _digested(leaf, keeping=keeping) for leaf in leaves}


def _digested(leaf: Leaf, *, keeping: bool) -> "Digested | OSError":
    try:
        with opened(leaf) as (descriptor, status):
            return _digest(descriptor, status, keeping=keeping)
    except OSError as exc:
        return exc


def _digest(descriptor: int, status: os.stat_result, *, keeping: bool) -> Digested:
    """Read a file up to its size at first, since it may grow as fast as it is read."""
    digest, size, chunk = sha256(), 0, b""
    most = status.st_size or sys.maxsize  # Some file systems do not report the size.
    while size < most and (more := read_some(descriptor, min(_CHUNK, most - size))):
        chunk = more
        digest.update(chunk)
        size += len(chunk)
    after = os.fstat(descriptor)
    return Digested(
        status,
        size,
        digest.hexdigest(),
        has_grown=size == status.st_size < after.st_size,
        is_settled=size == status.st_size
        and (status.st_mtime_ns, status.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns),
        content=chunk if keeping and len(chunk) == size else None,
    )
