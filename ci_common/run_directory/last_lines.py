"""Where the last lines of a log begin, be it a file or in the artifact store."""

import os

_BLOCK_BYTES = 64 * 1024
MAX_TAIL_BYTES = 64 * 1024**2
"""How far back from the end of a log its last lines are searched for."""


class LastLines:
    """Searches for where the last `lines` lines before `end` begin, in blocks that it is given from the end on.

    A last line without a newline counts. It looks back at most MAX_TAIL_BYTES, and then takes the first line from
    there.
    """

    def __init__(self, end: int, lines: int) -> None:
        self._lines = lines
        self._floor = max(0, end - MAX_TAIL_BYTES)
        self._earliest: int | None = None
        self.begin: int | None = end if lines == 0 or end == 0 else None
        """Where they begin, once that is known."""
        self._position = max(0, end - 1)  # A newline at the very end closes the last line; it does not begin another.
        self._go_on()

    def wanted(self, block_bytes: int) -> tuple[int, int]:
        """Return from where and up to where to read next, at most up to the block that ends before there."""
        return max(self._floor, (self._position - 1) // block_bytes * block_bytes), self._position

    def take(self, start: int, block: bytes) -> None:
        """Search what stands at `start`, which is what was wanted."""
        found = block.count(b"\n")
        if found >= self._lines:
            self.begin = start + _last_line(block, self._lines)
            return
        if found:
            self._earliest = start + block.index(b"\n") + 1
            self._lines -= found
        self._position = start
        self._go_on()

    def _go_on(self) -> None:
        if self.begin is None and self._position <= self._floor:
            self.begin = self._floor if self._floor == 0 or self._earliest is None else self._earliest


def _last_line(block: bytes, lines: int) -> int:
    """Return where the last `lines` lines of a block begin, which has as many newlines. Counting them is fast."""
    start, end = 0, len(block)
    while end - start > 1:
        middle = (start + end) // 2
        behind = block.count(b"\n", middle, end)
        if behind >= lines:
            start = middle
        else:
            lines -= behind
            end = middle
    return start + 1


def last_lines(descriptor: int, end: int, lines: int) -> int:
    """Return what `LastLines` finds in a file. Blocks, for milliseconds where it looks far back."""
    search = LastLines(end, lines)
    while search.begin is None:
        start, until = search.wanted(_BLOCK_BYTES)
        search.take(start, os.pread(descriptor, until - start, start))
    return search.begin
