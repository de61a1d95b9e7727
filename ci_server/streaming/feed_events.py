"""What readers of the stream of changes get: entries of the outbox as events, and which of them a reader wants."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ci_common.jobs import Job
from ci_common.times import to_rfc3339
from ci_common.wire.live.feed import line_on_wire
from ci_persistence.stores.outbox import Cursor, Entry, Event, Place

MOST_MISSED: Final = 1000
"""A reader that has missed more changes than these reads its lists again, which is less to send."""
_MISSED: Final = "more than 1,000 changes were missed"
UNKNOWN: Final = "the place to go on at is not known here any more"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes a reader gets."""

    projects: frozenset[str] | None
    """Those whose jobs it may see; None for all jobs."""
    project: str | None = None
    type: str | None = None
    labels: frozenset[tuple[str, str]] = frozenset()

    def takes(self, change: "Change") -> bool:
        """Return whether the change is one of a job that is wanted; of a deleted one, type and labels are not known."""
        if self.projects is not None and change.project not in self.projects:
            return False
        if self.project is not None and change.project != self.project:
            return False
        job = change.job
        if job is None:
            return True
        return self.type in (None, job.type) and self.labels <= job.labels.items()


@dataclass(frozen=True, slots=True)
class Change:
    """The last of several changes of one job, as an event."""

    cursor: Cursor
    project: str | None
    job: Job | None
    """As it is now; None for one that was deleted."""
    frame: bytes


def framed(event: Mapping[str, Any], place: Place) -> bytes:
    """Return one event; its `id:` is the place behind it."""
    return f"id: {place}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


def begin(place: Place) -> bytes:
    """Return the event from which on a reader gets all changes."""
    return framed({"type": "begin"}, place)


def reset(place: Place, message: str = _MISSED) -> bytes:
    """Return the event in place of changes that a reader does not get."""
    return framed({"type": "reset", "message": message}, place)


def ping(place: Place) -> bytes:
    """Return what keeps a connection open, and says how far it is to a reader that may have wanted no change since."""
    return f": ping\nid: {place}\n\n".encode()


def last_of_each(entries: Iterable[Entry]) -> list[Entry]:
    """Return the last entry of each job, in order."""
    last: dict[str, Entry] = {}
    for entry in entries:
        last.pop(entry.job_id, None)
        last[entry.job_id] = entry
    return list(last.values())


def changes_of(entries: Sequence[Entry], jobs: Mapping[str, Job]) -> list[Change]:
    """Return the entries, of which each job has one, as changes; `jobs` are those that exist.

    A job that does not has been deleted since, which a later entry says.
    """
    changes = []
    for entry in entries:
        job, instant = jobs.get(entry.job_id), to_rfc3339(entry.time)
        event: dict[str, Any]
        if entry.event is Event.DELETED:
            job, event = None, {"type": "deleted", "time": instant, "job_id": entry.job_id}
        elif job is None:
            continue
        else:
            event = {"type": "job", "event": entry.event, "time": instant, "job": line_on_wire(job)}
        changes.append(Change(entry.cursor, entry.project, job, framed(event, entry.place)))
    return changes
