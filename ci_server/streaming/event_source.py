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

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import RunDirectory, open_regular
from ci_common.run_directory.output import CHUNK_BYTES
from ci_common.stream import Cursor
from ci_common.times import utc_now
from ci_common.wire import attempt_event, complete_event, status_event
from ci_server.streaming.attempt_files import AttemptFiles
from ci_server.streaming.framing import LogFramer, frame
from ci_server.streaming.log_positions import character_start


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
        self._attempts: dict[int, AttemptFiles] = {}
        """Those that were looked at."""
        self._status: tuple[Job | None, bytes] = None, b""

    def running_in(self, attempt: int) -> RunDirectory | None:
        """Return the run directory in which the attempt is running, or None where it is not."""
        job = self._job().as_of(attempt)
        return self._files_of(job).run if job.state is State.RUNNING else None

    def has_ended(self, attempt: int) -> bool:
        """Tell whether the attempt has ended, so that all of its log is there."""
        return self._job().as_of(attempt).state is State.COMPLETED

    def end_of_log(self) -> Place:
        """Return the place behind what the present attempt has written; a character that is open lies behind it."""
        return Place(self._job().attempt, self._end_of_log() or 0)

    def within_log(self, place: Place) -> Place:
        """Return `place`, or the log's end where that lies before it: the job has truncated its log, or never had more.

        Of the present attempt, while it runs.
        """
        job = self._job()
        if place.attempt != job.attempt or job.state is State.COMPLETED:
            return place
        end = self._end_of_log()
        return place if end is None or end >= place.position else place._replace(position=end)

    def _end_of_log(self) -> int | None:
        try:
            descriptor = open_regular(self._files_of(self._job()).log)
        except FileNotFoundError:
            return None
        try:
            return character_start(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def next(self, place: Place) -> Batch:
        """Return what there is for a reader at `place`."""
        # The row first: when it says that the attempt has ended, the log that is read next is all of it.
        job = self._job().as_of(place.attempt)
        files = self._files_of(job)
        ended = job.state is State.COMPLETED
        instant = _time_of(job, files, place.position)
        data = files.read(place.position, (job.log_bytes or 0) - place.position if ended else CHUNK_BYTES)
        if files.is_short and not ended:
            place = self.within_log(place)
        # The log before the steps, so that none is missed that begins in what was read. Those of an attempt that has
        # ended are in the row, which came first.
        changed = files.take_steps(job) and not ended
        framer = _framer(files, place)
        parts = []
        said = b"" if ended else self._status_of(job)
        if said != place.said:
            parts.append(said)
        final = ended and place.position + len(data) >= (job.log_bytes or 0)
        parts += framer.frames(data, instant, final=final)
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
        files = self._files_of(job)
        instant = _time_of(job, files, place.position)
        data = files.read(place.position, size)
        if len(data) < size:
            return None
        framer = _framer(files, place)
        parts = [limit.said] if limit.said != place.said else []
        last = place.position + size == limit.position
        if data:
            parts += framer.frames(data, instant, final=last)
        if not last:
            after = Place(place.attempt, framer.position, framer.shown, limit.said)
            return Batch(b"".join(parts), after, Then.MORE)
        parts += framer.remaining_steps(limit.shown or 0)
        return Batch(b"".join(parts), limit, Then.WAIT)

    def _files_of(self, job: Job) -> AttemptFiles:
        files = self._attempts.get(job.attempt)
        if files is None:
            files = self._attempts[job.attempt] = AttemptFiles(self._run_of(job))
        return files

    def _status_of(self, job: Job) -> bytes:
        if self._status[0] is not job:
            self._status = job, frame(status_event(job))
        return self._status[1]


def _framer(files: AttemptFiles, place: Place) -> LogFramer:
    framer = LogFramer(place.position, attempt=place.attempt, shown=place.shown)
    framer.take_steps(files.steps)
    return framer


def _time_of(job: Job, files: AttemptFiles, position: int) -> datetime:
    return files.time_of(position) or (job.end_time if job.state is State.COMPLETED else None) or utc_now()
