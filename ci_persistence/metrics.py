"""The protocol of metrics, and how the stages of a job's path are measured.

`SQLiteJobRepository` implements the protocol; a suite in tests/contracts runs against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ci_common.jobs import Job, State
from ci_common.times import Milestone


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The numbers of one moment. Counters only grow: a deleted job stays counted."""

    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    errored: int
    retried: int
    """Attempts after a job's first."""
    warm: int
    """Attempts that ran in a container that had waited for a job; `cold` and `pull` count the other ways to start."""
    cold: int
    pull: int
    ran: int
    """Completed jobs whose own code had started."""
    ran_micros: int
    """How long all of them ran in their last attempts, in microseconds."""
    queued: int
    """A present number, as are the three that follow."""
    starting: int
    running: int
    removals: int
    """Deleted jobs whose files or containers are not all removed yet."""
    leads: bool
    """Whether a controller leads that is not known to be dead."""
    term: int
    """How many times a controller began to lead."""


STAGES = ("receive", "queue", "start", "first_output", "end", "clear")
"""The measured parts of a job's path."""
STAGE_BOUNDS = (
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 1_800_000_000),
)
"""The upper bounds of the histogram's buckets, in microseconds. One more bucket follows, without a bound."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long one stage took in the last attempts of completed jobs that started in the same way."""

    stage: str
    """One of STAGES."""
    way: str
    """The jobs' `StartWay`; empty where that is not known, and for built-in types."""
    counts: tuple[int, ...]
    """Jobs per bucket of STAGE_BOUNDS, not cumulative; last, the jobs beyond all bounds."""
    micros: int
    """The sum of all times, in microseconds."""


class JobMetrics(Protocol):
    """The metrics of one installation's jobs."""

    async def metrics(self) -> Metrics:
        """Return the metrics. The cost does not depend on how many jobs have completed. Raises Unavailable."""

    async def stage_times(self) -> list[StageTimes]:
        """Return the times of all stages that any completed job had, at the same cost. Raises Unavailable."""


def finished_stages(before: Job, after: Job) -> Iterator[tuple[str, int]]:
    """Yield the stages that a write from `before` to `after` finishes, and how long each took, in microseconds.

    A store calls this for each update that leaves a job COMPLETED, and counts the result in the same transaction.
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
