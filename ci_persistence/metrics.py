"""The protocol of what is counted. `SQLiteJobRepository` implements it; a suite in tests/contracts runs against it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one moment of the database says. Counters only grow: a job that is deleted stays counted."""

    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    errored: int
    retried: int
    """Attempts after a job's first."""
    warm: int
    """Attempts that ran, by how they got what they ran in."""
    cold: int
    pull: int
    ran: int
    """Completed jobs whose own code had started."""
    ran_micros: int
    """How long all of them ran in their last attempts, in microseconds."""
    queued: int
    """Now, as the three that follow."""
    starting: int
    running: int
    removals: int
    """Deleted jobs of which something is still to be removed."""
    leads: bool
    """Whether a controller leads that is not known to be dead."""
    term: int
    """How many times a controller began to lead."""


STAGES = ("receive", "queue", "start", "first_output", "end", "clear")
"""The parts of a job's path that are counted."""
STAGE_BOUNDS = (
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000),
    *(1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000, 300_000_000, 1_800_000_000),
)
"""The upper bounds of their histograms' buckets, in microseconds; behind them is one without a bound."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long one stage took of jobs that started in one way, in their last attempts."""

    stage: str
    """One of STAGES."""
    way: str
    """How they started, as `StartWay` has it; empty where that is not known, and for built-in types."""
    counts: tuple[int, ...]
    """How many took as long as each of STAGE_BOUNDS at most and longer than the one before; last, those beyond all."""
    micros: int
    """What all of them took, in microseconds."""


class JobFigures(Protocol):
    """What is counted of one installation's jobs."""

    async def figures(self) -> Figures:
        """Return the figures. The cost does not depend on how many jobs have completed. Raises Unavailable."""

    async def stages(self) -> list[StageTimes]:
        """Return the times of the stages that any completed job had, at the same cost. Raises Unavailable."""
