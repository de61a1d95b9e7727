"""What comes next in a job's stream for a reader at some position, from the job's row, its log and its steps.

Nothing here waits or remembers readers: a position goes in, and bytes with the position behind them come out. So all
readers at the same position get the same bytes.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import NamedTuple

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.masked_log import LiveLogs
from ci_common.run_directory.output import (
    CHUNK_BYTES,
)
from ci_common.times import utc_now
from ci_common.wire.stream import Cursor, attempt_event, complete_event, status_event
from ci_server.streaming.attempt_files import AttemptFiles
from ci_server.streaming.framing import LogFramer, frame
from ci_server.streaming.stored_logs import StoredLog


class Position(NamedTuple):
    """How much of a job's stream a reader has."""

    attempt: int
    offset: int
    """In the attempt's log."""
    steps_sent: int | None = None
    """How many events of its steps; None: those that lie before `offset`."""
    last_status: bytes = b""
    """The last status event."""

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.attempt, self.offset)


class Next(Enum):
    """What follows a batch."""

    MORE = auto()
    """More of the log."""
    AGAIN = auto()
    """Perhaps more: the steps changed while the log was read."""
    WAIT = auto()
    """Nothing until something changes."""
    END = auto()
    """Nothing: the result has been sent."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive events."""

    frames: bytes
    after: Position
    next: Next
    short: bool = False
    """The log has less than the row says, perhaps because the job was deleted: check before sending this."""


async def _not_stored(job: Job) -> StoredLog | None:  # noqa: ARG001  # as all of its kind
    return None


class EventSource:
    """One job as this process knows it."""

    def __init__(
        self,
        job: Callable[[], Job],
        run_of: Callable[[Job], RunDirectory],
        stored_of: Callable[[Job], Awaitable[StoredLog | None]] = _not_stored,
        live_logs: LiveLogs | None = None,
    ) -> None:
        """`job` returns its row as last read, `run_of` an attempt's run directory, `stored_of` its log in the store."""
        self._job = job
        self._run_of = run_of
        self._stored_of = stored_of
        self._live_logs = live_logs
        self._attempts: dict[int, AttemptFiles] = {}
        """The attempts that were read."""
        self._status: tuple[Job | None, bytes] = None, b""

    def running_in(self, attempt: int) -> RunDirectory | None:
        """Return the run directory in which the attempt runs, or None where it does not run."""
        job = self._job().as_of(attempt)
        return self._files_of(job).run if job.state is State.RUNNING else None

    async def prepare(self, position: Position) -> None:
        """Read what `next` needs for a reader at `position`, of a log that is not here; to be called right before.

        Raises StoreUnavailable, LogLost.
        """
        files = self._attempts.get(position.attempt)
        if files is not None:
            await files.prepare(position.offset)

    async def find_stored(self, attempt: int) -> bool:
        """Return whether the log of an attempt, which is not here, has just been found in the artifact store.

        Raises StoreUnavailable, LogLost.
        """
        job = self._job().as_of(attempt)
        files = self._files_of(job)
        if job.state is not State.COMPLETED or files.stored is not None:
            return False
        found = await self._stored_of(job)
        if files.stored is not None:  # For another reader, in between.
            if found is not None:
                found.close()
            return True
        files.stored = found
        return found is not None

    def close(self) -> None:
        """Close the logs that were read from the artifact store."""
        for files in self._attempts.values():
            if files.stored is not None:
                files.stored.close()

    async def end_of_log(self) -> Position:
        """Return the position behind what the present attempt has written, without an incomplete last character.

        Raises StoreUnavailable, LogLost.
        """
        job = self._job()
        if job.state is State.COMPLETED:
            if (self._files_of(job).end() or 0) < (job.log_bytes or 0):
                await self.find_stored(job.attempt)
            return Position(job.attempt, min(self._files_of(job).end() or 0, job.log_bytes or 0))
        await self._files_of(job).look_on()
        return Position(job.attempt, self._files_of(job).end(is_live=True) or 0)

    def within_log(self, position: Position) -> Position:
        """Return `position`, or the log's end where that lies before it.

        The job may have truncated its log, or never have written so much. For the present attempt, while it runs.
        """
        job = self._job()
        if position.attempt != job.attempt or job.state is State.COMPLETED:
            return position
        end = self._files_of(job).end()
        return position if end is None or end >= position.offset else position._replace(offset=end)

    def next(self, position: Position) -> Batch:
        """Return what there is for a reader at `position`."""
        # The row first: when it says that the attempt has ended, the log that is read next is complete.
        job = self._job().as_of(position.attempt)
        files = self._files_of(job)
        ended = job.state is State.COMPLETED
        instant = _time_of(job, files, position.offset)
        size = (job.log_bytes or 0) - position.offset if ended else CHUNK_BYTES
        data = files.read(position.offset, size, is_live=not ended)
        if files.is_short and not ended:
            position = self.within_log(position)
        # The log before the steps, so that no step is missed that begins in what was read. The steps of an attempt that
        # has ended are in the row, which came first.
        changed = files.take_steps(job) and not ended
        framer = _framer(files, position)
        parts = []
        status = b"" if ended else self._status_of(job)
        if status != position.last_status:
            parts.append(status)
        final = ended and position.offset + len(data) >= (job.log_bytes or 0)
        parts += framer.frames(data, instant, final=final)
        if len(data) == CHUNK_BYTES or changed:
            after = Position(position.attempt, framer.position, framer.steps_sent, status)
            return Batch(b"".join(parts), after, Next.AGAIN if changed else Next.MORE)
        parts += framer.remaining_steps()
        after = Position(position.attempt, framer.position, framer.steps_sent, status)
        if not ended:
            return Batch(b"".join(parts), after, Next.WAIT)
        short = framer.position < (job.log_bytes or 0)
        if position.attempt == self._job().attempt:
            parts.append(frame(complete_event(job), Cursor(job.attempt, job.log_bytes or 0)))
            return Batch(b"".join(parts), after, Next.END, short)
        following = Position(position.attempt + 1, 0)
        parts.append(frame(attempt_event(self._job(), following.attempt), following.cursor))
        return Batch(b"".join(parts), following, Next.MORE, short)

    def next_until(self, position: Position, limit: Position) -> Batch | None:
        """Return what comes before `limit`, which lies at or behind `position` in the same running attempt.

        None where the log has become shorter than `limit`.
        """
        size = min(CHUNK_BYTES, limit.offset - position.offset)
        job = self._job().as_of(position.attempt)
        files = self._files_of(job)
        instant = _time_of(job, files, position.offset)
        data = files.read(position.offset, size, again=True)
        if len(data) < size:
            return None
        framer = _framer(files, position)
        parts = [limit.last_status] if limit.last_status != position.last_status else []
        is_last = position.offset + size == limit.offset
        if data:
            parts += framer.frames(data, instant, final=is_last)
        if not is_last:
            after = Position(position.attempt, framer.position, framer.steps_sent, limit.last_status)
            return Batch(b"".join(parts), after, Next.MORE)
        parts += framer.remaining_steps(limit.steps_sent or 0)
        return Batch(b"".join(parts), limit, Next.WAIT)

    def _files_of(self, job: Job) -> AttemptFiles:
        files = self._attempts.get(job.attempt)
        if files is None:
            run = self._run_of(job)
            if self._live_logs is None:
                files = AttemptFiles(run)
            else:
                logs = self._live_logs
                files = AttemptFiles(run, partial(logs.shown, job, run), partial(logs.behind, job, run))
            self._attempts[job.attempt] = files
        return files

    def _status_of(self, job: Job) -> bytes:
        if self._status[0] is not job:
            self._status = job, frame(status_event(job))
        return self._status[1]


def _framer(files: AttemptFiles, position: Position) -> LogFramer:
    framer = LogFramer(position.offset, attempt=position.attempt, steps_sent=position.steps_sent)
    framer.take_steps(files.steps)
    return framer


def _time_of(job: Job, files: AttemptFiles, offset: int) -> datetime:
    return files.time_of(offset) or (job.end_time if job.state is State.COMPLETED else None) or utc_now()


class RecentBatches:
    """The batches that readers got last, for readers a little behind them: at most `capacity` bytes in all."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._batches: OrderedDict[tuple[str, Position], Batch] = OrderedDict()
        self.size = 0
        """Bytes that are held."""

    def find(self, job_id: str, position: Position) -> Batch | None:
        """Return the batch that follows `position`, or None where it is not held (any more)."""
        return self._batches.get((job_id, position))

    def add(self, job_id: str, position: Position, batch: Batch) -> None:
        """Hold a batch that is the same for every reader at `position`; the oldest batches make room."""
        key = job_id, position
        if key in self._batches or len(batch.frames) > self._capacity:
            return
        self._batches[key] = batch
        self.size += len(batch.frames)
        while self.size > self._capacity:
            _, oldest = self._batches.popitem(last=False)
            self.size -= len(oldest.frames)
