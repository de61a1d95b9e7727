"""Reads an attempt's log once, from its beginning to its end, for the places that tools name in it."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ci_common.attempts.outcomes import MOST_ANNOTATIONS, MOST_SUMMARY_BYTES, Annotation
from ci_common.run_directory.untrusted_files import open_regular
from ci_controller.results.matchers import CANDIDATE, Matchers, candidates

MOST_BYTES: Final = 32 * 1024**2
"""Of a longer log, the first and the last half of so many bytes are read."""
MOST_SECONDS: Final = 3.0
_CHUNK = 128 * 1024
_LONGEST_LINE = 4096
"""Bytes; what is behind them in a line is not looked at."""


@dataclass
class Found:
    """What is collected from a log: errors before the rest, each once, and no more than can be kept."""

    summary: list[str] = field(default_factory=list)
    left_out: int = 0
    is_cut: bool = False
    """Whether a part of the log was not read."""
    _kept: dict[str, list[Annotation]] = field(default_factory=lambda: {"error": [], "other": []})
    _known: set[tuple[object, ...]] = field(default_factory=set)
    _summary_bytes: int = 0

    def take(self, annotation: Annotation) -> None:
        """Keep an annotation, unless it is known or there are too many."""
        key = (annotation.level, annotation.message, annotation.file, annotation.line, annotation.column)
        if key in self._known:
            return
        kept = self._kept["error" if annotation.level == "error" else "other"]
        if len(kept) == MOST_ANNOTATIONS:
            self.left_out += 1
            return
        self._known.add(key)
        kept.append(annotation)

    def say(self, line: str) -> None:
        """Keep a line of the summary, if there is room."""
        self._summary_bytes += len(line.encode(errors="replace")) + 1
        if self._summary_bytes <= MOST_SUMMARY_BYTES:
            self.summary.append(line)

    def annotations(self) -> list[Annotation]:
        """Return what is kept, in the order of the log."""
        errors, others = self._kept["error"], self._kept["other"]
        kept = [*errors, *others[: MOST_ANNOTATIONS - len(errors)]]
        return sorted(kept, key=lambda annotation: annotation.log_offset or 0)

    @property
    def lost(self) -> int:
        """How many are not kept."""
        return self.left_out + max(0, sum(map(len, self._kept.values())) - MOST_ANNOTATIONS)


def read_log(path: Path, size: int, roots: tuple[str, ...]) -> Found:
    """Return what the first `size` bytes of the log at `path` say; nothing where there is no such file."""
    found = Found()
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return found
    try:
        end = min(size, os.fstat(descriptor).st_size)
        matchers = Matchers(found.take, found.say, roots)
        parts = ((0, end),) if end <= MOST_BYTES else ((0, MOST_BYTES // 2), (end - MOST_BYTES // 2, end))
        found.is_cut = len(parts) > 1
        deadline = time.monotonic() + MOST_SECONDS
        for start, stop in parts:
            if not _read_part(descriptor, start, stop, matchers, deadline):
                found.is_cut = True
                break
    finally:
        os.close(descriptor)
    return found


def _read_part(descriptor: int, start: int, end: int, matchers: Matchers, deadline: float) -> bool:
    """Hand the lines of a part of the log to `matchers`; return whether there was time for all."""
    skipped = 0
    for text, offset in _blocks(descriptor, start, end):
        if time.monotonic() > deadline:
            return False
        wanted, lines = candidates(text), text.split(b"\n")
        if not wanted and not matchers.wants_next and len(max(lines, key=len)) <= _LONGEST_LINE:
            skipped += len(lines)
            continue
        position = offset
        for line in lines:
            if len(line) > _LONGEST_LINE:
                is_candidate = CANDIDATE.search(line, 0, _LONGEST_LINE) is not None
            else:
                is_candidate = position - offset in wanted
            if not is_candidate and not matchers.wants_next:
                skipped += 1
            else:
                if skipped:
                    matchers.pass_over(skipped)
                    skipped = 0
                matchers.take(line[:_LONGEST_LINE].decode(errors="replace"), position)
            position += len(line) + 1
    return True


def _blocks(descriptor: int, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield the whole lines of each chunk, and the offset of the first. A line longer than a chunk comes in pieces.

    The end of the last line is left out.
    """
    rest, position = b"", start
    while position < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - position), position)
        if not chunk:
            break
        offset = position - len(rest)
        position += len(chunk)
        text = rest + chunk
        end_of_last = text.rfind(b"\n")
        rest = text[end_of_last + 1 :]
        if len(rest) > _CHUNK:
            yield text, offset
            rest = b""
        elif end_of_last >= 0:
            yield text[:end_of_last], offset
    if rest:
        yield rest, position - len(rest)
