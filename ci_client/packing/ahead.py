"""Compresses the frames of a project while it is scanned for its first upload, so that most of its files are read once.

Which files a server lacks is not known by then. A first upload usually lacks all of them; frames that are not wanted
are dropped.
"""

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ci_client.packing.frames import Frame, frame_of, read_frame
from ci_common.manifests.entries import Entry
from ci_common.manifests.packs import FRAME_BYTES

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_THREADS = 2
_WAITING: Final = 12
"""So many frames may wait to be compressed; then the scan waits."""
_MOST_BYTES: Final = 128 * 1024**2
"""Bytes of compressed frames that are held. What is beyond is read again when it is sent."""


class Ahead:
    """Takes the files of a scan in the order of the manifest, and returns the frames that are made of them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._contents: set[str] = set()
        self._parts: list[tuple[Entry, bytes | None]] = []
        self._size = 0
        self._pool: ThreadPoolExecutor | None = None
        self._made: dict[Frame, Future[bytes]] = {}
        self._waiting: deque[Future[bytes]] = deque()
        self._held = 0

    def put(self, entry: Entry, content: bytes | None) -> None:
        """Take the next file, and what was read of it if that was kept."""
        if self._held > _MOST_BYTES or not entry.size or entry.content in self._contents:
            return
        self._contents.add(entry.content)
        if self._parts and self._size + entry.size > FRAME_BYTES:
            self._compress()
        self._parts.append((entry, content))
        self._size += entry.size

    def _compress(self) -> None:
        """Have the files that were taken compressed as a frame."""
        parts, self._parts = self._parts, []
        size, self._size = self._size, 0
        if size > FRAME_BYTES:
            return  # It is one long file, which is several frames.
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="compress")
        if len(self._waiting) == _WAITING:
            first = self._waiting.popleft()
            self._held += 0 if first.exception() else len(first.result())
        frame = frame_of([entry for entry, _ in parts])
        made = self._pool.submit(read_frame, self._root, frame, [content for _, content in parts])
        self._made[frame] = made
        self._waiting.append(made)

    def end(self) -> None:
        """End with the last frame: there are no more files."""
        if self._pool is not None:
            self._compress()
            self._pool.shutdown(wait=False)
        self._parts.clear()

    def taken(self, frame: Frame) -> bytes | None:
        """Return a frame as it is sent, and forget it; None if it was not made. Raises ProjectChanged, PackingError."""
        made = self._made.pop(frame, None)
        return None if made is None else made.result()
