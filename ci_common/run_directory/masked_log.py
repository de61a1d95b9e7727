"""The log of an attempt as it is shown: with the secrets in it masked, at the same offsets.

A job writes its log itself, and whatever it prints stands in there. While the attempt runs, every reader masks what it
shows: a star for each byte of a secret, so that offsets, lengths and lines stay. What may be the beginning of a secret
is not shown before it is known whether it is one. When the attempt has ended, the controller writes the file as it was
shown, so that its digest is that of what was read, and no reader masks any more.

A line `ci:mask VALUE` or `::add-mask::VALUE` adds a value: it is masked from that line on, in which it stands itself.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ci_common.jobs import Job
from ci_common.run_directory.closing import shown_bytes
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.secrets.masks import Masked, Masks, stars
from ci_common.secrets.sealing import MOST_SEALED_BYTES, MaskKeeper
from ci_common.secrets.values import why_not_masked

MOST_DECLARED: Final = 100
"""The most values that the lines of one log add."""
_MARKERS: Final = (b"ci:mask ", b"::add-mask::")
_DECLARATION: Final = re.compile(rb"^(?:ci:mask |::add-mask::)(.+?)\r?$", re.MULTILINE)
_LONGEST_LINE: Final = 8 * 1024
_CHUNK: Final = 256 * 1024
_PIECE: Final = 64 * _CHUNK
"""How much a thread looks at before it may be given up."""
_MOST_LOGS: Final = 256


@dataclass(frozen=True, slots=True)
class _Declared:
    """A value that a line of the log has added."""

    start: int
    """Where it stands in that line."""
    masks: Masks


class MaskedLog:
    """One log, which only grows. It remembers how far it has looked for lines that add values.

    One thread may `look_on` while another one uses it.
    """

    def __init__(self, masks: Masked | None = None) -> None:
        self._masks = masks
        self._declared: list[_Declared] = []
        self._values: set[str] = set()
        self._scanned = 0
        self._line = 0
        """Where the line begins that had not ended at `_scanned`."""
        self._looking = threading.Lock()
        """Held while a chunk is looked at, which changes all of the above."""

    def is_behind(self, size: int) -> bool:
        """Return whether to look at what is new of the first `size` bytes takes more than a moment."""
        return size - self._scanned > _CHUNK

    def look_on(self, descriptor: int, size: int) -> bool:
        """Look at a piece of what is new of the first `size` bytes; return whether there was any. Takes a while."""
        before = self._scanned
        self._scan(descriptor, min(size, before + _PIECE))
        return self._scanned != before

    def shown(self, descriptor: int, size: int) -> int:
        """Return how many of the first `size` bytes can be shown while the log grows."""
        with self._looking:
            if size < self._scanned:  # The job has truncated it.
                self._declared, self._values, self._scanned, self._line = [], set(), 0, 0
        self._scan(descriptor, size)
        end = self._line if self._may_declare(descriptor, size) else size
        reach = self._reach
        if reach:
            start = max(0, end - reach)
            tail = os.pread(descriptor, end - start, start)
            end = min(start + self._open_from(tail, start), end)
        return end

    def finish(self, descriptor: int, size: int) -> None:
        """Take note that the log has ended with `size` bytes, so that its last line is whole, too."""
        self._scan(descriptor, size)
        if 0 < size - self._line <= _LONGEST_LINE:
            self._take(os.pread(descriptor, size - self._line, self._line), self._line)

    def read(self, descriptor: int, start: int, end: int, size: int) -> bytes:
        """Return the bytes from `start` to `end` as they are shown. The log has `size` bytes.

        While it grows, `end` is at most what `shown` has returned for this `size` or a smaller one.
        """
        self._scan(descriptor, size)
        reach = self._reach
        if end <= start:
            return b""
        if not reach:
            return os.pread(descriptor, end - start, start)
        first = max(0, start - reach + 1)
        data = os.pread(descriptor, min(size, end + reach - 1) - first, first)
        spans = [] if self._masks is None else self._masks.covered(data)
        for declared in self._declared:
            spans += [span for span in declared.masks.covered(data) if first + span[0] >= declared.start]
        return stars(data, spans)[start - first : end - first]

    def text(self, text: str) -> str:
        """Return a text with `***` in place of all values, those too that lines have added so far."""
        for masks in (self._masks, *(declared.masks for declared in self._declared)):
            if masks is not None:
                text = masks.text(text)
        return text

    @property
    def masks_nothing(self) -> bool:
        """Whether there is no value to be masked, as far as the log has been looked at."""
        return not self._reach

    @property
    def _reach(self) -> int:
        of_masks = 0 if self._masks is None else self._masks.reach
        return max((of_masks, *(declared.masks.reach for declared in self._declared)))

    def _open_from(self, tail: bytes, start: int) -> int:
        opened = len(tail) if self._masks is None else self._masks.open_from(tail)
        for declared in self._declared:
            place = declared.masks.open_from(tail)
            if start + place >= declared.start:
                opened = min(opened, place)
        return opened

    def _may_declare(self, descriptor: int, size: int) -> bool:
        """Return whether the last line, which has not ended, adds a value or may come to do so."""
        if not 0 < size - self._line <= _LONGEST_LINE:
            return False
        head = os.pread(descriptor, min(size - self._line, max(map(len, _MARKERS))), self._line)
        return any(head.startswith(marker) or marker.startswith(head) for marker in _MARKERS)

    def _scan(self, descriptor: int, size: int) -> None:
        """Look for lines that add values, as far as lines have ended."""
        is_more = True
        while is_more and self._scanned < size:
            with self._looking:
                is_more = self._scan_chunk(descriptor, size)

    def _scan_chunk(self, descriptor: int, size: int) -> bool:
        """Look at the next chunk; return whether there was one."""
        chunk = os.pread(descriptor, max(0, min(_CHUNK, size - self._scanned)), self._scanned)
        last = chunk.rfind(b"\n") + 1
        if last:
            begun = self._scanned - self._line
            if begun <= _LONGEST_LINE:
                head = os.pread(descriptor, begun, self._line) if begun else b""
                self._take(head + chunk[:last], self._line)
            else:
                first = chunk.find(b"\n") + 1
                self._take(chunk[first:last], self._scanned + first)
            self._line = self._scanned + last
        self._scanned += len(chunk)
        return bool(chunk)

    def _take(self, lines: bytes, start: int) -> None:
        if not any(marker in lines for marker in _MARKERS):
            return
        for match in _DECLARATION.finditer(lines):
            if len(self._declared) == MOST_DECLARED:
                return
            value = match[1].decode(errors="replace")
            if len(match[0]) > _LONGEST_LINE or value in self._values or why_not_masked(value) is not None:
                continue
            self._values.add(value)
            self._declared.append(_Declared(start + match.start(1), Masks([value])))


@dataclass(frozen=True, slots=True)
class ShownLog:
    """An open log that grows, as far as it is shown at one moment."""

    descriptor: int
    size: int
    """How many of its bytes are shown."""
    _log: MaskedLog
    _whole: int
    """How many bytes it has: what is behind the shown ones may be the end of a secret that began before."""

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`, or to the last one that is shown."""
        return self._log.read(self.descriptor, start, min(end, self.size), self._whole)

    def again(self, start: int, end: int) -> bytes:
        """Return bytes that were shown before, also where the mark of a log that was closed has fewer of them."""
        whole = max(self._whole, os.fstat(self.descriptor).st_size)
        return self._log.read(self.descriptor, start, min(end, whole), whole)

    @classmethod
    def of(cls, log: MaskedLog, run: RunDirectory, descriptor: int) -> "ShownLog":
        """Return what is shown of the log of `run`, which is open as `descriptor`."""
        # What is appended after the log was closed comes after its size was measured here, or is cut off by its mark.
        whole = shown_bytes(run, os.fstat(descriptor).st_size)
        return cls(descriptor, log.shown(descriptor, whole), log, whole)


def masks_of(job: Job, run: RunDirectory, keeper: MaskKeeper) -> Masked | None:
    """Return what is masked of an attempt: nothing of a job without secrets; everything where that cannot be known.

    None while it is not known yet: the attempt has written nothing then, or has ended and has been masked for good.
    """
    if not (job.plan or {}).get("secrets"):
        return Masks()
    sealed = read_capped(run.masks, MOST_SEALED_BYTES)
    return None if sealed is None else keeper.masks(sealed.decode(errors="replace"), job.id, job.attempt)


class LiveLogs:
    """The logs of attempts that run, as one process shows them."""

    def __init__(self, keeper: MaskKeeper) -> None:
        self._keeper = keeper
        self._logs: OrderedDict[str, MaskedLog] = OrderedDict()

    def behind(self, job: Job, run: RunDirectory, descriptor: int) -> Callable[[], bool] | None:
        """Return what looks at a piece of what is new of an open log, for a thread; it returns whether there was any.

        None where there is so little that `shown` does not take long.
        """
        log, size = self._of(job, run), shown_bytes(run, os.fstat(descriptor).st_size)
        return None if log is None or not log.is_behind(size) else partial(log.look_on, descriptor, size)

    def shown(self, job: Job, run: RunDirectory, descriptor: int) -> ShownLog:
        """Return what is shown of the open log of an attempt of which the row does not say that it has ended."""
        log = self._of(job, run)
        return ShownLog(descriptor, 0, MaskedLog(), 0) if log is None else ShownLog.of(log, run, descriptor)

    def _of(self, job: Job, run: RunDirectory) -> MaskedLog | None:
        key = str(run.path)
        log = self._logs.get(key)
        if log is None:
            masks = masks_of(job, run, self._keeper)
            if masks is None:
                return None
            log = self._logs[key] = MaskedLog(masks)
            if len(self._logs) > _MOST_LOGS:
                self._logs.popitem(last=False)
        self._logs.move_to_end(key)
        return log
