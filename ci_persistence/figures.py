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


class JobFigures(Protocol):
    """What is counted of one installation's jobs."""

    async def figures(self) -> Figures:
        """Return the figures. The cost does not depend on how many jobs have completed. Raises Unavailable."""
