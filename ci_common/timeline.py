"""The stations of a job's path, and when each was passed.

Instants are microseconds since the start of 1970 UTC. Within one process they are counted from its first look at the
clock by a count that nobody sets, and whoever goes on with a path never notes an instant before the last one there is:
so no step takes less than nothing, whatever has been done to the clock.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import LogTimes
from ci_common.times import Clock, Uptime, to_micros, uptime, utc_now


class Station(StrEnum):
    """Where a job comes by, in this order. The first four are the API's, the others those of one attempt."""

    ACCEPTED = "accepted"
    """The request has come, but not what is uploaded with it."""
    RECEIVED = "received"
    """The upload is on the disk."""
    UNPACKED = "unpacked"
    """It is checked and unpacked, and what is to be run is known."""
    PERSISTING = "persisting"
    """The job's row is handed to the database, which commits it together with others'."""
    SEEN = "seen"
    """The controller has first seen the job, or its next attempt, in the queue."""
    STARTING = "starting"
    """It has a slot, and that is committed."""
    CREATED = "created"
    """What it runs in has been made."""
    MOVED_IN = "moved_in"
    """Its files lie before a container that waited for a job."""
    AT_GATE = "at_gate"
    """What it runs in has been seen to wait for it."""
    RUNNING = "running"
    """That it runs is committed."""
    GATE_OPENED = "gate_opened"
    """Its own code may run."""
    FIRST_OUTPUT = "first_output"
    """Its log has been seen to have bytes."""
    EXIT_SEEN = "exit_seen"
    """The controller has seen that its own code has ended."""
    COLLECTED = "collected"
    """What it left has been read."""
    COMPLETING = "completing"
    """The row that says how it ended is handed to the database."""
    COMPLETED = "completed"
    """That it ended is committed; readers are sent it next."""
    CLEARED = "cleared"
    """What it ran in has gone, and all of its files but the log and the upload."""


ARRIVAL = (Station.ACCEPTED, Station.RECEIVED, Station.UNPACKED, Station.PERSISTING)
"""The stations of a submission; the others are those of one attempt."""
_NEVER = 2**63
_RANKS: dict[str, int] = {station: rank for rank, station in enumerate(Station)}


class Trace:
    """Notes when a job passed its stations; each only once."""

    def __init__(
        self, known: Mapping[str, int] | None = None, *, after: int = 0, clock: Clock = utc_now, uptime: Uptime = uptime
    ) -> None:
        """`known` was noted by others, and is gone on with; `after` is an instant that everything here comes after."""
        self._times = dict(known or {})
        self._uptime = uptime
        self._begun = uptime()
        self._first = max(to_micros(clock()), after, *self._times.values(), 0)

    def note(self, station: Station, at: float | None = None) -> None:
        """Note that `station` has been passed now, or at the uptime `at`. What is noted already stands."""
        self._note_between(station, self._instant(self._uptime() if at is None else at))

    def fill_in(self, others: Mapping[str, int]) -> None:
        """Note those of `others` that are not noted yet: what was read elsewhere, by whatever clock."""
        for station, instant in others.items():
            self._note_between(station, instant)

    def _instant(self, at: float) -> int:
        return self._first + round(max(0.0, at - self._begun) * 1_000_000)

    def _note_between(self, station: str, instant: int) -> None:
        if station in self._times:
            return
        rank, earliest, latest = _rank(station), 0, _NEVER
        for name, time in self._times.items():
            if _rank(name) < rank:
                earliest = max(earliest, time)
            elif _rank(name) > rank:
                latest = min(latest, time)
        if latest == _NEVER:
            latest = self._instant(self._uptime())
        self._times[station] = max(min(instant, latest), earliest)

    def times(self) -> dict[str, int]:
        """Return what is noted."""
        return dict(self._times)


def gone_on(times: Mapping[str, int], station: Station) -> dict[str, int]:
    """Return `times` and with them `station`, which is passed now and is behind all of theirs, unless it is noted."""
    return {station: max(to_micros(utc_now()), *times.values(), 0), **times}


def left_in_files(run: RunDirectory) -> dict[str, int]:
    """Return the stations of an attempt that its files tell of, whoever drove it.

    The gate is as precise as the dates of files, which Linux counts in steps of up to 10 ms; the first output as the
    index of the log's times, a tenth of a second.
    """
    gate = run.started_at()
    output = LogTimes(run.times).time_of(0)
    found = {Station.GATE_OPENED: gate, Station.FIRST_OUTPUT: output}
    return {station: to_micros(instant) for station, instant in found.items() if instant is not None}


def in_order(times: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield stations and their times in the order of the path."""
    yield from sorted(times.items(), key=lambda item: (_rank(item[0]), item[1]))


def _rank(station: str) -> int:
    """Return a station's place; those that another version of the program knows stand at the end."""
    return _RANKS.get(station, len(_RANKS))
