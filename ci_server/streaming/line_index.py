"""Where the lines of a log begin: every thousandth of them, and how many lie before each block of bytes."""

from array import array
from typing import Final, NamedTuple

EVERY: Final = 1000
"""Of so many lines, one has its offset noted."""
BLOCK_BYTES: Final = 256 * 1024
"""How often the number of line ends so far is noted."""
_NEWLINE: Final = b"\n"
_FIRST_GUESS: Final = 100.0
_SMALL: Final = 32
_SURE: Final = 0.9
"""The part of the expected way to the next mark that is counted in one go, since most lines are about as long."""


class Extent(NamedTuple):
    """How far an index has come. A new one takes the place of the old one, so that another thread may read it."""

    size: int = 0
    """How many bytes it covers."""
    newlines: int = 0
    marks: int = 1
    ends_line: bool = True
    """Whether the last byte is a line end, or there is none."""

    @property
    def lines(self) -> int:
        """How many lines there are, with a last one that has not ended."""
        return self.newlines + (not self.ends_line)


class LineIndex:
    """The index of one log, which is added to as the log grows. One thread at a time may add."""

    def __init__(self) -> None:
        self.extent = Extent()
        self._marks = array("Q", [0])
        """Where line 1 begins, and line 1001, and so on; the last one may be the end of the log."""
        self._counts = array("Q", [0])
        """How many line ends lie before each block."""
        self._average = _FIRST_GUESS

    @property
    def memory(self) -> int:
        """How many bytes it takes up, about."""
        return (len(self._marks) + len(self._counts)) * self._marks.itemsize

    def add(self, data: bytes) -> None:
        """Take the bytes that follow those that it covers."""
        if not data:
            return
        size, newlines, *_ = self.extent
        base, place = size, 0
        while place < len(data):
            end = min(len(data), place + BLOCK_BYTES - (base + place) % BLOCK_BYTES)
            newlines = self._add_part(data, place, end, base, newlines)
            place = end
            if (base + place) % BLOCK_BYTES == 0:
                self._counts.append(newlines)
        self.extent = Extent(base + len(data), newlines, len(self._marks), data.endswith(_NEWLINE))

    def offsets(self, extent: Extent, first_line: int, every: int, most: int) -> list[int]:
        """Return where `first_line` and each `every`-th line behind it begin, at most so many of them.

        Both are multiples of EVERY, but for the one by which lines are numbered from 1. Lines behind `extent` are left
        out.
        """
        end = min(extent.marks, -(-extent.lines // EVERY))
        return self._marks[(first_line - 1) // EVERY : end : every // EVERY][:most].tolist()

    def before(self, offset: int) -> tuple[int, int]:
        """Return where the block of a byte that is covered begins, and how many line ends lie before that."""
        block = offset // BLOCK_BYTES
        return block * BLOCK_BYTES, self._counts[block]

    def _add_part(self, data: bytes, place: int, end: int, base: int, newlines: int) -> int:
        """Count within one block; return how many line ends there are behind it."""
        while place < end:
            missing = EVERY - newlines % EVERY
            until = min(end, place + max(_SMALL, int(missing * self._average * _SURE)))
            found = data.count(_NEWLINE, place, until)
            if found < missing:
                newlines += found
                place = until
                continue
            place = _behind(data, place, until, missing)
            newlines += missing
            self._average = (base + place - self._marks[-1]) / EVERY
            self._marks.append(base + place)
        return newlines


def _behind(data: bytes, start: int, end: int, number: int) -> int:
    """Return the place behind the line end with this number, from `start` on; there are as many before `end`."""
    while end - start > _SMALL:
        middle = (start + end) // 2
        found = data.count(_NEWLINE, start, middle)
        if found >= number:
            end = middle
        else:
            number -= found
            start = middle
    for _ in range(number):
        start = data.index(_NEWLINE, start) + 1
    return start
