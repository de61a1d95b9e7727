"""Times, clocks, and the timeline of a job: when it reached each of its milestones.

Times are aware `datetime` in UTC inside, RFC 3339 with `Z` on the wire, and microseconds since 1970 in storage and in
timelines.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from ci_common.jobs import Job, State
from ci_common.parsing.text import shown

Clock = Callable[[], datetime]
"""Returns the current time; injected wherever a decision depends on it."""

Uptime = Callable[[], float]
"""Returns the machine's uptime in seconds, which cannot be set; injected like a clock."""

_INSTANT_CHARACTERS = 64
"""More than the longest notation of a time has."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def uptime() -> float:
    """Return the seconds since the machine's boot, including its sleep if the system counts that."""
    return time.clock_gettime(_BOOT_CLOCK) if _BOOT_CLOCK is not None else time.monotonic()


def to_rfc3339(instant: datetime) -> str:
    """Return `instant` as RFC 3339 with microseconds and `Z`."""
    return micros_to_rfc3339(to_micros(instant))


def micros_to_rfc3339(micros: int) -> str:
    """Return the time `micros` microseconds after 1970 UTC began as RFC 3339 with microseconds and `Z`."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_to_seconds(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=64)
def _to_seconds(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")


def from_rfc3339(text: str) -> datetime:
    """Parse a time in RFC 3339. Raises ValueError if it is not one in the years 1 to 9999 in UTC."""
    try:
        instant = datetime.fromisoformat(text if len(text) <= _INSTANT_CHARACTERS else "")
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{shown(text)} is outside of the years 1 to 9999 in UTC") from None
    except ValueError:
        raise ValueError(f"{shown(text)} is not an instant; write it as in 2025-01-31T09:30:00Z") from None
    raise ValueError(f"{shown(text)} names no offset from UTC; write it as in 2025-01-31T09:30:00Z")


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    passed = instant - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def from_micros(micros: int) -> datetime:
    """Return the time `micros` microseconds after 1970 UTC began."""
    return _EPOCH + timedelta(microseconds=micros)


class Milestone(StrEnum):
    """What a job passes, in this order. The API notes the first four, the controller the others, for each attempt."""

    ACCEPTED = "accepted"
    """The request has arrived, without the upload."""
    RECEIVED = "received"
    """The upload is on the disk."""
    UNPACKED = "unpacked"
    """The upload is unpacked, and what to run is known."""
    PERSISTING = "persisting"
    """The job's row is handed to the database, which commits it together with others."""
    SEEN = "seen"
    """The controller has seen the job, or its next attempt, in the queue."""
    STARTING = "starting"
    """The job has a slot, and that is committed."""
    CREATED = "created"
    """Its container or process is created."""
    MOVED_IN = "moved_in"
    """It has claimed a warm container."""
    AT_GATE = "at_gate"
    """Its script waits at the gate."""
    RUNNING = "running"
    """RUNNING is committed."""
    GATE_OPENED = "gate_opened"
    """The gate is open, so its own code may run."""
    FIRST_OUTPUT = "first_output"
    """Its log has bytes."""
    EXIT_SEEN = "exit_seen"
    """The controller has seen that its own code has ended."""
    COLLECTED = "collected"
    """The controller has read what the job left."""
    COMPLETING = "completing"
    """The row with its conclusion is handed to the database."""
    COMPLETED = "completed"
    """That row is committed; readers are notified next."""
    CLEARED = "cleared"
    """Its container is removed, and all of its files but the log and the upload."""


SUBMISSION_MILESTONES = (Milestone.ACCEPTED, Milestone.RECEIVED, Milestone.UNPACKED, Milestone.PERSISTING)
"""The milestones of a submission; the others are those of an attempt."""
STAGES = ("receive", "queue", "start", "first_output", "end", "clear")
"""The parts of a job's path that are measured, each between two milestones."""
_NEVER = 2**63
_RANKS: dict[str, int] = {milestone: rank for rank, milestone in enumerate(Milestone)}


class Timeline:
    """The times of milestones, each noted once.

    It reads the clock once and then counts by the machine's uptime, and never notes a time before those that it already
    has: no step takes less than 0, even if the clock is set.
    """

    def __init__(
        self, known: Mapping[str, int] | None = None, *, after: int = 0, clock: Clock = utc_now, uptime: Uptime = uptime
    ) -> None:
        """Continue from `known`. No time that is noted here will be before `after`."""
        self._times = dict(known or {})
        self._uptime = uptime
        self._begun = uptime()
        self._first = max(to_micros(clock()), after, *self._times.values(), 0)

    def note(self, milestone: Milestone, at: float | None = None) -> None:
        """Note a milestone now, or at the uptime `at`. A milestone that is noted already keeps its time."""
        self._note_between(milestone, self._instant(self._uptime() if at is None else at))

    def fill_in(self, others: Mapping[str, int]) -> None:
        """Note those of `others` that are missing. Their times may be from another clock."""
        for milestone, instant in others.items():
            self._note_between(milestone, instant)

    def _instant(self, at: float) -> int:
        return self._first + round(max(0.0, at - self._begun) * 1_000_000)

    def _note_between(self, milestone: str, instant: int) -> None:
        if milestone in self._times:
            return
        rank, earliest, latest = _rank(milestone), 0, _NEVER
        for name, noted in self._times.items():
            if _rank(name) < rank:
                earliest = max(earliest, noted)
            elif _rank(name) > rank:
                latest = min(latest, noted)
        if latest == _NEVER:
            latest = self._instant(self._uptime())
        self._times[milestone] = max(min(instant, latest), earliest)

    def times(self) -> dict[str, int]:
        """Return the times that are noted."""
        return dict(self._times)


def with_milestone(times: Mapping[str, int], milestone: Milestone) -> dict[str, int]:
    """Return `times` with `milestone` noted now, after all of them; unchanged if it is noted already."""
    return {milestone: max(to_micros(utc_now()), *times.values(), 0), **times}


def in_order(times: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield milestones with their times, in the order in which a job passes them."""
    yield from sorted(times.items(), key=lambda item: (_rank(item[0]), item[1]))


def finished_stages(before: Job, after: Job) -> Iterator[tuple[str, int]]:
    """Yield the stages that a write from `before` to `after` finishes, and how long each took, in microseconds.

    Storage calls this for each update that leaves a job COMPLETED, and counts the result in the same transaction.
    """
    for stage, (begin, end) in _spans(before, after).items():
        if begin is not None and end is not None and end >= begin:
            yield stage, end - begin


def _spans(before: Job, after: Job) -> dict[str, tuple[int | None, int | None]]:
    """Return where the finished stages begin and end. What is not known of them is None."""
    spans: dict[str, tuple[int | None, int | None]] = {}
    arrival, trace = after.arrival.get, after.trace.get
    if before.state is not State.COMPLETED:
        is_first = after.attempt == 1
        if is_first:
            accepted = arrival(Milestone.ACCEPTED)
            spans["receive"] = accepted, arrival(Milestone.PERSISTING)
            spans["first_output"] = accepted, trace(Milestone.FIRST_OUTPUT)
        submitted = arrival(Milestone.PERSISTING) if is_first else None
        spans["queue"] = trace(Milestone.SEEN) if submitted is None else submitted, trace(Milestone.STARTING)
        spans["start"] = trace(Milestone.STARTING), trace(Milestone.GATE_OPENED)
        spans["end"] = trace(Milestone.EXIT_SEEN), trace(Milestone.COMPLETING)
    if before.state is not State.COMPLETED or Milestone.CLEARED not in before.trace:
        spans["clear"] = trace(Milestone.COMPLETING), trace(Milestone.CLEARED)
    return spans


def _rank(milestone: str) -> int:
    """Return a milestone's place in the order; unknown ones, from another version of the program, come last."""
    return _RANKS.get(milestone, len(_RANKS))
