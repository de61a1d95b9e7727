"""The protocol of metrics. `SQLiteJobRepository` implements it; a suite in tests/contracts runs against it."""

from dataclasses import dataclass
from typing import Protocol


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


STAGE_BOUNDS = (
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 1_800_000_000),
)
"""The upper bounds of the histogram's buckets, in microseconds. One more bucket follows, without a bound."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long one stage took in the last attempts of completed jobs that started in the same way."""

    stage: str
    """One of `ci_common.times.STAGES`."""
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
