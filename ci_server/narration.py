"""What a reader at some place in a job's stream is told next, from the job's row, its log and its steps.

Nothing here waits or remembers readers: a place goes in, and bytes with the place behind them come out. So whoever is
at the same place is told the same bytes.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

from ci_common.cursors import Cursor
from ci_common.jobs import Job, State
from ci_common.layout import RunDirectory, open_regular
from ci_common.logs import CHUNK_BYTES, LogTimes
from ci_common.times import utc_now
from ci_common.wire import attempt_event, complete_event, status_event
from ci_server.framing import LogFramer, StepEvent, frame, step_events
from ci_server.live_steps import live_steps
from ci_server.tail import character_start


class Place(NamedTuple):
    """How far a reader has been told of a job."""

    attempt: int
    position: int
    """The offset in the attempt's log."""
    shown: int | None = None
    """How many events of its steps; None: those that lie before `position`."""
    said: bytes = b""
    """The status event that was the last."""

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.attempt, self.position)


class Then(Enum):
    """What follows a batch."""

    MORE = auto()
    """There is more of the log."""
    AGAIN = auto()
    """There may be more: the steps have changed while the log was read."""
    WAIT = auto()
    """Nothing, until something changes."""
    END = auto()
    """Nothing, ever: the verdict has been told."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive events."""

    frames: bytes
    after: Place
    then: Then
    short: bool = False
    """The log has less than the row says, perhaps because its job was deleted: look before you send this."""


class Narration:
    """One job as this process knows it; `job` is asked for the row whenever something is to be told."""

    def __init__(self, job: Callable[[], Job], run_of: Callable[[Job], RunDirectory]) -> None:
        self._job = job
        self._run_of = run_of
        self._steps: dict[int, tuple[object, list[StepEvent]]] = {}
        """Of each attempt that was looked at: what tells whether they may have changed since, and the events."""
        self._status: tuple[Job | None, bytes] = None, b""

    def running_in(self, attempt: int) -> RunDirectory | None:
        """Return the run directory in which the attempt is running, or None where it is not."""
        job = self._job().as_of(attempt)
        return self._run_of(job) if job.state is State.RUNNING else None

    def has_ended(self, attempt: int) -> bool:
        """Tell whether the attempt has ended, so that all of its log is there."""
        return self._job().as_of(attempt).state is State.COMPLETED

    def end_of_log(self) -> Place:
        """Return the place behind what the present attempt has written; a character that is open lies behind it."""
        job = self._job()
        try:
            descriptor = open_regular(self._run_of(job).log)
        except FileNotFoundError:
            return Place(job.attempt, 0)
        try:
            return Place(job.attempt, character_start(descriptor, os.fstat(descriptor).st_size))
        finally:
            os.close(descriptor)

    def next(self, place: Place) -> Batch:
        """Return what there is for a reader at `place`."""
        # The row first: when it says that the attempt has ended, the log that is read next is all of it.
        job = self._job().as_of(place.attempt)
        run = self._run_of(job)
        ended = job.state is State.COMPLETED
        data = _read(run, place.position, (job.log_bytes or 0) - place.position if ended else CHUNK_BYTES)
        # The log before the steps, so that none is missed that begins in what was read.
        changed = self._take_steps(job, run)
        framer = self._framer(place)
        parts = []
        said = b"" if ended else self._status_of(job)
        if said != place.said:
            parts.append(said)
        final = ended and place.position + len(data) >= (job.log_bytes or 0)
        parts += framer.frames(data, _time_of(job, run, place.position) if data else utc_now(), final=final)
        if len(data) == CHUNK_BYTES or changed:
            after = Place(place.attempt, framer.position, framer.shown, said)
            return Batch(b"".join(parts), after, Then.AGAIN if changed else Then.MORE)
        parts += framer.remaining_steps()
        after = Place(place.attempt, framer.position, framer.shown, said)
        if not ended:
            return Batch(b"".join(parts), after, Then.WAIT)
        short = framer.position < (job.log_bytes or 0)
        if place.attempt == self._job().attempt:
            parts.append(frame(complete_event(job), Cursor(job.attempt, job.log_bytes or 0)))
            return Batch(b"".join(parts), after, Then.END, short)
        following = Place(place.attempt + 1, 0)
        parts.append(frame(attempt_event(self._job(), following.attempt), following.cursor))
        return Batch(b"".join(parts), following, Then.MORE, short)

    def up_to(self, place: Place, limit: Place) -> Batch | None:
        """Return what brings a reader nearer to `limit`, which lies at or behind `place` in the same running attempt.

        None where the log has become shorter, so that nothing does.
        """
        size = min(CHUNK_BYTES, limit.position - place.position)
        job = self._job().as_of(place.attempt)
        run = self._run_of(job)
        data = _read(run, place.position, size)
        if len(data) < size:
            return None
        framer = self._framer(place)
        parts = [limit.said] if limit.said != place.said else []
        last = place.position + size == limit.position
        if data:
            parts += framer.frames(data, _time_of(job, run, place.position), final=last)
        if not last:
            after = Place(place.attempt, framer.position, framer.shown, limit.said)
            return Batch(b"".join(parts), after, Then.MORE)
        parts += framer.remaining_steps(limit.shown or 0)
        return Batch(b"".join(parts), limit, Then.WAIT)

    def _framer(self, place: Place) -> LogFramer:
        framer = LogFramer(place.position, attempt=place.attempt, shown=place.shown)
        _, events = self._steps.get(place.attempt, (None, []))
        framer.take_steps(events)
        return framer

    def _status_of(self, job: Job) -> bytes:
        if self._status[0] is not job:
            self._status = job, frame(status_event(job))
        return self._status[1]

    def _take_steps(self, job: Job, run: RunDirectory) -> bool:
        """Read an attempt's steps if they may have changed since the last look; tell whether they may.

        Fewer than before are passed over: they come from a run directory that has been cleared already, seen with a row
        from before the attempt's end.
        """
        stamp = job.state, job.start_time, _stamp(run) if job.state is State.RUNNING else None
        seen, events = self._steps.get(job.attempt, (None, []))
        if stamp == seen:
            return False
        found = step_events(live_steps(job, run))
        self._steps[job.attempt] = stamp, events if len(found) < len(events) else found
        return True


def _read(run: RunDirectory, position: int, size: int) -> bytes:
    """Return so much of the log, and at most one chunk; less or nothing where there is no more (yet)."""
    if size <= 0:
        return b""
    try:
        descriptor = open_regular(run.log)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, min(size, CHUNK_BYTES), position)
    finally:
        os.close(descriptor)


def _stamp(run: RunDirectory) -> tuple[int, int] | None:
    try:
        status = run.steps.lstat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _time_of(job: Job, run: RunDirectory, position: int) -> datetime:
    noted = LogTimes(run.times).time_of(position)
    return noted or (job.end_time if job.state is State.COMPLETED else None) or utc_now()
