"""What streams read of one attempt's files, again and again."""

import math
import os
import time
from datetime import datetime

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import RunDirectory, open_regular
from ci_common.run_directory.output import CHUNK_BYTES, TIMES_SECONDS, LogTimes, Span
from ci_server.streaming.framing import StepEvent, step_events
from ci_server.streaming.live_steps import live_steps


class AttemptFiles:
    """One attempt's log, the times of its bytes, and its steps."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.log = run.log
        self.steps: list[StepEvent] = []
        """The events of its steps, as far as they have been read."""
        self._steps_file = run.steps
        self._steps_stamp: object = None
        self._times = LogTimes(run.times)
        self._span: Span | None = None
        """That of the byte whose time was asked for last."""
        self._end = 0
        """The length of the log when its end was last seen."""
        self._end_seen = -math.inf
        self.is_short = False
        """Whether the log, when it was last read, ended before the place from which it was to be read."""

    def read(self, position: int, size: int) -> bytes:
        """Return so many bytes of the log, and at most one chunk; less or nothing where there is no more (yet)."""
        size = min(size, CHUNK_BYTES)
        self.is_short = False
        if size <= 0:
            return b""
        try:
            descriptor = open_regular(self.log)
        except FileNotFoundError:
            return b""
        try:
            data = os.pread(descriptor, size, position)
            self.is_short = not data and os.fstat(descriptor).st_size < position
        finally:
            os.close(descriptor)
        if len(data) < size:
            self._end, self._end_seen = position + len(data), time.monotonic()
        return data

    def time_of(self, position: int) -> datetime | None:
        """Return when the byte at `position`, which is to be read next, was first seen, or None where that is just now.

        None too while it is not noted.
        """
        if self._span is None or not self._span.start <= position < self._span.end:
            if position >= self._end and time.monotonic() - self._end_seen < TIMES_SECONDS:
                return None  # It has come since, and the index is no more precise than that.
            self._span = self._times.span_of(position)
        return None if self._span is None else self._span.instant

    def take_steps(self, job: Job) -> bool:
        """Read the steps of the job in this attempt if they may have changed; tell whether they may have.

        Fewer than before are passed over: they come from a run directory that has been cleared already, seen with a row
        from before the attempt's end.
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
            status = os.lstat(self._steps_file)
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns
