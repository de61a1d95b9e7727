"""The lines that matter of a failed job's log: its errors, tracebacks and summaries, and how it ended.

`forms` has the forms of errors that are recognised. What has none of them is still shown by the last lines.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ci_client.logs.forms import (
    AS_WRITTEN,
    BELONGS_TO_ERROR,
    IN_ANY_CASE,
    MARKED,
    PASSED,
    PLACE_BELOW,
    SUMMARY,
    SUMMARY_BEGINS,
    TRACEBACK,
    Rank,
    rank_of,
)
from ci_client.logs.plain import LogLine, plain

_HEAD_BYTES = 512 * 1024
_TAIL_BYTES = 2 * 1024 * 1024
_LONGEST_RAW = 8 * 1024
"""Bytes of one line that are looked at."""
_LONGEST_BLOCK = 12
"""Lines of a block. More errors in a row are another block."""
_LONGEST_SUMMARY = 60
_LAST_LINES = 5
"""Of the end of the log, these are shown, but for tests that passed before those that failed."""
_ENDING_LINES = 50
"""... and these if nothing else was found."""
_NUMBER_BYTES = 10
"""What a line costs beyond its text: its number, and the line end."""
_MOST_HITS = 500
_LINES_BEFORE = 4
_LINES_AFTER = 6
"""Lines around an error that may belong to it."""
_FRAMES = 6
"""Lines of a traceback that are kept before its last one: three frames."""


@dataclass(slots=True)
class _Block:
    rank: Rank
    lines: list[LogLine]


class FailureExcerpt:
    """Reads a log as it comes, in pieces of any size, and returns the lines of it that matter if the job has failed.

    Of what was read since the last `begin_part`, it looks at the first 512 KiB and the last 2 MiB. Reading costs
    little; looking is done in `lines`.
    """

    def __init__(self) -> None:
        self._lines_before = 0
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._dropped_ends = 0
        self._ends = 0

    def begin_part(self) -> None:
        """Forget what was read, except how many lines it had: the error is expected in what follows."""
        self._lines_before += self._ends
        self._head.clear()
        self._tail.clear()
        self._tail_bytes = self._dropped_ends = self._ends = 0

    def begin_log(self) -> None:
        """Forget what was read: another log begins, whose first line has the number 1."""
        self.begin_part()
        self._lines_before = 0

    def feed(self, data: bytes) -> None:
        """Read the next piece of the log."""
        self._ends += data.count(b"\n")
        room = _HEAD_BYTES - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if not data:
            return
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) >= _TAIL_BYTES:
            dropped = self._tail.popleft()
            self._tail_bytes -= len(dropped)
            self._dropped_ends += dropped.count(b"\n")

    def lines(self, max_bytes: int) -> list[LogLine]:
        """Return the lines that matter, in the order of the log, in at most `max_bytes` of UTF-8 with their numbers."""
        finder = _Finder()
        number = self._lines_before + 1
        if self._dropped_ends:
            finder.look_through(bytes(self._head), number)
            # The first line of the tail is only a part of one.
            number += self._head.count(b"\n") + self._dropped_ends
            finder.look_through(b"".join(self._tail), number)
        else:
            finder.look_through(bytes(self._head) + b"".join(self._tail), number)
        return finder.selected(max_bytes)


class _Finder:
    """Finds blocks of lines that belong together, line by line, and selects among them."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._ending: deque[LogLine] = deque(maxlen=_ENDING_LINES)
        self._before: LogLine | None = None
        self._source: LogLine | None = None
        self._state = self._between
        self._after = 0
        self._frames: deque[LogLine] = deque(maxlen=_FRAMES)

    def look_through(self, data: bytes, first: int) -> None:
        """Look at the lines that may tell something, and those around them. The first line has the number `first`."""
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        seen = -1
        for hit in _hits(data, lines):
            place = max(seen + 1, hit - _LINES_BEFORE)
            while place < len(lines) and (place <= hit + _LINES_AFTER or self._state != self._between):
                self._state(_plain(lines, place, first))
                seen = place
                place += 1
        self._state, self._after = self._between, 0
        for place in range(max(0, len(lines) - _ENDING_LINES), len(lines)):
            self._ending.append(_plain(lines, place, first))

    # Each state takes a line, and may set the next state. Lines without text count for none of them.

    def _between(self, line: LogLine) -> None:
        if line.text.startswith(">"):
            self._source = line
        if SUMMARY_BEGINS.match(line.text):
            self._begin(Rank.SUMMARY, line)
            self._state = self._in_summary
        elif TRACEBACK.match(line.text):
            self._begin(Rank.ERROR, line)
            self._frames.clear()
            self._state = self._in_traceback
        elif (rank := rank_of(line.text)) is not None:
            self._error(rank, line)
        elif line.text:
            belongs = self._after and BELONGS_TO_ERROR.match(line.text)
            self._after = self._after - 1 if belongs else 0
            if belongs:
                self._blocks[-1].lines.append(line)
        self._before = line

    def _error(self, rank: Rank, line: LogLine) -> None:
        if self._after and self._blocks[-1].rank == rank and len(self._blocks[-1].lines) < _LONGEST_BLOCK:
            self._blocks[-1].lines.append(line)
        else:
            self._begin(rank, line)
            above = self._before if PLACE_BELOW.match(line.text) else self._source if MARKED.match(line.text) else None
            if above is not None and above.text and 0 < line.number - above.number <= _LINES_BEFORE:
                self._blocks[-1].lines.insert(0, above)
        self._after = _LINES_AFTER

    def _in_summary(self, line: LogLine) -> None:
        block = self._blocks[-1]
        ends = SUMMARY.match(line.text) is not None
        if line.text and (ends or len(block.lines) < _LONGEST_SUMMARY):
            block.lines.append(line)
        if ends:
            self._state = self._between

    def _in_traceback(self, line: LogLine) -> None:
        if line.text.startswith(" "):
            self._frames.append(line)
            return
        self._blocks[-1].lines += [*self._frames, *([line] if line.text else [])]
        self._state, self._after = self._between, _LINES_AFTER

    def _begin(self, rank: Rank, line: LogLine) -> None:
        self._blocks.append(_Block(rank, [line]))

    def selected(self, max_bytes: int) -> list[LogLine]:
        """Return the lines that tell most, within the limit."""
        chosen = _Chosen(max_bytes)
        ending = [line for line in self._ending if line.text]
        by_rank: dict[Rank, list[_Block]] = {rank: [] for rank in Rank}
        told: set[str] = set()
        for block in self._blocks:
            text = "\n".join(line.text for line in block.lines)
            if text not in told:
                told.add(text)
                by_rank[block.rank].append(block)
        is_told = bool(by_rank[Rank.SUMMARY] or by_rank[Rank.ERROR])
        last = [line for line in ending[-_LAST_LINES:] if not (is_told and PASSED.search(line.text))]
        chosen.take(last, backwards=True, share=0.3)
        for block in reversed(by_rank[Rank.SUMMARY]):
            chosen.take(block.lines[-1:], share=0.6)
            chosen.take(block.lines, share=0.6)
        for block in _from_both_ends(by_rank[Rank.ERROR]):
            chosen.take(block.lines)
        if not is_told:
            for block in _from_both_ends(by_rank[Rank.PERHAPS]):
                chosen.take(block.lines, share=0.8)
            chosen.take(ending, backwards=True)
        return chosen.lines()


class _Chosen:
    """Lines within a limit of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._bytes = 0
        self._lines: dict[int, LogLine] = {}

    def take(self, lines: list[LogLine], *, backwards: bool = False, share: float = 1.0) -> None:
        """Add lines as long as they stay within a share of the limit."""
        for line in reversed(lines) if backwards else lines:
            if line.number in self._lines:
                continue
            cost = len(line.text.encode()) + _NUMBER_BYTES
            if self._bytes + cost > self._limit * share:
                return
            self._bytes += cost
            self._lines[line.number] = line

    def lines(self) -> list[LogLine]:
        return [self._lines[number] for number in sorted(self._lines)]


def _from_both_ends(blocks: list[_Block]) -> Iterator[_Block]:
    """Yield the first block, the last one, the second one and so on: the cause is first, what came of it is last."""
    for place in range((len(blocks) + 1) // 2):
        yield blocks[place]
        if place != len(blocks) - 1 - place:
            yield blocks[-1 - place]


def _hits(data: bytes, lines: list[bytes]) -> list[int]:
    """Return the places of the lines that are worth a look; if there are many, of the first and of the last."""
    lower = data.lower()
    any_case = [word for word in IN_ANY_CASE if word in lower]
    as_written = [word for word in AS_WRITTEN if word in data]
    if not any_case and not as_written:
        return []
    hits = [
        place
        for place, line in enumerate(lines)
        if any(word in line for word in as_written) or any(map(line.lower().__contains__, any_case))
    ]
    return hits if len(hits) <= 2 * _MOST_HITS else hits[:_MOST_HITS] + hits[-_MOST_HITS:]


def _plain(lines: list[bytes], place: int, first: int) -> LogLine:
    return LogLine(first + place, plain(lines[place][:_LONGEST_RAW]))


def lines_that_matter(log: bytes, *, max_bytes: int = 2048) -> list[LogLine]:
    """Return the lines of a failed job's log that matter, in at most `max_bytes` of UTF-8 with their numbers."""
    excerpt = FailureExcerpt()
    excerpt.feed(log)
    return excerpt.lines(max_bytes)


def excerpt_text(lines: Iterable[LogLine]) -> str:
    """Return numbered lines as text, with a line `…` where lines were left out."""
    shown: list[str] = []
    expected = 0
    for line in lines:
        if expected and line.number != expected:
            shown.append("     …")
        shown.append(f"{line.number:>6} {line.text}".rstrip())
        expected = line.number + 1
    return "\n".join(shown)
