"""Places in a log, found without reading all of it."""

import os

_BLOCK_BYTES = 64 * 1024
MAX_TAIL_BYTES = 64 * 1024**2
"""How far back from the end lines are looked for."""


def last_lines(descriptor: int, end: int, lines: int) -> int:
    """Return the offset at which the last `lines` lines before `end` begin.

    A last line without a newline counts. Looks back at most MAX_TAIL_BYTES, and then returns the first line from there.
    """
    if lines == 0 or end == 0:
        return end
    floor = max(0, end - MAX_TAIL_BYTES)
    position = end - 1  # A newline at the very end closes the last line; it does not begin another.
    earliest: int | None = None
    while position > floor:
        start = max(floor, position - _BLOCK_BYTES)
        block = os.pread(descriptor, position - start, start)
        newline = len(block)
        while (newline := block.rfind(b"\n", 0, newline)) >= 0:
            earliest = start + newline + 1
            lines -= 1
            if lines == 0:
                return earliest
        position = start
    if floor == 0:
        return 0
    return floor if earliest is None else earliest


def character_start(descriptor: int, offset: int) -> int:
    """Return `offset`, or where the UTF-8 sequence begins whose middle it is, be it one that is not complete yet."""
    before = os.pread(descriptor, min(3, offset), max(0, offset - 3))
    following = os.pread(descriptor, 1, offset)
    if following and following[0] & 0xC0 != 0x80:
        return offset
    for back in range(1, len(before) + 1):
        byte = before[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return offset - back if length > back else offset
    return offset
