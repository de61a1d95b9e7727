"""Reads files for their digests, many of them in threads."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from ci_client.packing.reading import opened, read_some
from ci_client.packing.tree import Leaf

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_CHUNK = 1024 * 1024
_FEW = 4
"""So many files are read without threads, which take longer to import than to read a few files."""


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
    """Reads files, many of them in threads."""

    def __init__(self, threads: int, *, keeping: bool) -> None:
        """With `keeping`, the contents of files that are not long are kept."""
        self._threads = threads
        self._keeping = keeping
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, leaves: list[Leaf]) -> Callable[[], Digests]:
        """Begin to read files, and return what waits for their digests."""
        if len(leaves) <= _FEW:
            return partial(_digest_all, leaves, keeping=self._keeping)
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="scan")
        return self._pool.submit(_digest_all, leaves, keeping=self._keeping).result


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
