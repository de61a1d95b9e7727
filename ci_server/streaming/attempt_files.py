"""The files of one attempt as streams read them: its log, here or in the artifact store, its times and its steps."""

import math
import os
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.masked_log import MaskedLog, ShownLog
from ci_common.run_directory.output import (
    CHUNK_BYTES,
    TIMES_SECONDS,
    LogTimes,
    Span,
    character_start,
    live_steps,
)
from ci_common.run_directory.untrusted_files import open_regular
from ci_common.system.tasks import in_thread
from ci_server.streaming.framing import StepEvent, step_events
from ci_server.streaming.stored_logs import StoredLog

Shown = Callable[[int], ShownLog]
"""Returns what is shown of the log that is open as a descriptor, and that grows."""
Behind = Callable[[int], Callable[[], bool] | None]
"""Returns what looks at a piece of what is new of such a log; None once the other does not take long."""


async def look_on(behind: Callable[[], Callable[[], bool] | None]) -> None:
    """Have a thread look at what is new of a log, until it is not behind any more."""
    while (look := behind()) is not None and await in_thread(look):
        pass


class AttemptFiles:
    """One attempt's log, the times of its bytes, and its steps, which are read many times."""

    def __init__(self, run: RunDirectory, shown: Shown | None = None, behind: Behind | None = None) -> None:
        """`shown` and `behind` are those of `LiveLogs` for the attempt.

        Without them, no secret is known that would have to be masked.
        """
        self.run = run
        self._shown = shown or partial(ShownLog.of, MaskedLog(), run)
        self._behind = behind
        self.steps: list[StepEvent] = []
        """The events of its steps, as far as they have been read."""
        self._steps_stamp: object = None
        self._times = LogTimes(run.times)
        self._span: Span | None = None
        """The span of the byte whose time was asked for last."""
        self._end = 0
        """The length of the log when its end was last seen."""
        self._end_seen = -math.inf
        self.is_short = False
        """Whether the last read began behind the log's end."""
        self.stored: StoredLog | None = None
        """The log in the artifact store, once it was not found here."""
        self._window = 0, b""
        """What `prepare` has read of that: offset and bytes."""

    async def prepare(self, offset: int) -> None:
        """Read what `read` and `time_of` return next for this offset, for a log that is in the artifact store.

        No other reader may be prepared for in between. Raises StoreUnavailable, LogLost.
        """
        if self.stored is None:
            return
        span = self._span
        if span is None or not span.start <= offset < span.end:
            span = await self.stored.span_of(offset)
        data = await self.stored.read(offset, offset + CHUNK_BYTES)
        self._span, self._window = span, (offset, data)

    async def look_on(self) -> None:
        """Prepare for what the other methods do with `is_live`."""
        if self._behind is None or self.stored is not None:
            return
        try:
            descriptor = open_regular(self.run.log)
        except FileNotFoundError:
            return
        try:
            await look_on(partial(self._behind, descriptor))
        finally:
            os.close(descriptor)

    def read(self, offset: int, size: int, *, is_live: bool = False, again: bool = False) -> bytes:
        """Return so many bytes of the log, and at most one chunk; less or nothing where there is no more (yet).

        With `is_live`, for an attempt of which the row does not say that it has ended, no more than may be shown; with
        `again`, what another reader was shown.
        """
        size = min(size, CHUNK_BYTES)
        self.is_short = False
        if size <= 0:
            return b""
        if self.stored is not None:
            return self._window[1][:size] if self._window[0] == offset else b""
        try:
            descriptor = open_regular(self.run.log)
        except FileNotFoundError:
            return b""
        try:
            if again:
                data = self._shown(descriptor).again(offset, offset + size)
            elif is_live:
                data = self._shown(descriptor).read(offset, offset + size)
            else:
                data = os.pread(descriptor, size, offset)
            self.is_short = not data and os.fstat(descriptor).st_size < offset
        finally:
            os.close(descriptor)
        if len(data) < size:
            self._end, self._end_seen = offset + len(data), time.monotonic()
        return data

    def time_of(self, offset: int) -> datetime | None:
        """Return when the byte at `offset`, which is to be read next, was first seen; None where that is just now.

        None too while the time is not recorded.
        """
        if self.stored is not None:
            return None if self._span is None else self._span.instant
        if self._span is None or not self._span.start <= offset < self._span.end:
            if offset >= self._end and time.monotonic() - self._end_seen < TIMES_SECONDS:
                return None  # It has come since, and the index is not more precise.
            self._span = self._times.span_of(offset)
        return None if self._span is None else self._span.instant

    def end(self, *, is_live: bool = False) -> int | None:
        """Return the length of the log without an incomplete last character, or None where there is no log.

        `is_live` as `read` has it.
        """
        if self.stored is not None:
            return self.stored.size
        try:
            descriptor = open_regular(self.run.log)
        except FileNotFoundError:
            return None
        try:
            size = self._shown(descriptor).size if is_live else os.fstat(descriptor).st_size
            return character_start(descriptor, size)
        finally:
            os.close(descriptor)

    def take_steps(self, job: Job) -> bool:
        """Read the steps of the job in this attempt if they may have changed; return whether they may have.

        Fewer steps than before are ignored: they are read from a run directory that has been cleaned already, with a
        row from before the attempt's end.
        """
        stamp = job.state, job.start_time, self._stamp() if job.state is State.RUNNING else None
        if stamp == self._steps_stamp:
            return False
        self._steps_stamp = stamp
        found = step_events(live_steps(job, self.run))
        if len(found) >= len(self.steps):
            self.steps = found
        return True

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = os.lstat(self.run.steps)
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns
