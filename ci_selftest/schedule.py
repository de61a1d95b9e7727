"""The faults that a seed stands for: which, when, and for how long. What they hit follows from what runs then."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """One way to hurt the installation."""

    KILL_API = "kill API"
    KILL_LEADER = "kill leading controller"
    KILL_STANDBY = "kill standby controller"
    KILL_TWICE = "kill controller while it starts"
    KILL_ALL = "kill API and controllers at once"
    STOP_API = "terminate API"
    STOP_LEADER = "terminate leading controller"
    STOP_ALL = "terminate API and controllers at once"
    PAUSE_API = "pause API"
    PAUSE_LEADER = "pause leading controller"
    PAUSE_STANDBY = "pause standby controller"
    PAUSE_CONTROLLERS = "pause both controllers"
    KILL_CLIENT = "kill client"
    KILL_JOB = "kill a job's container"
    REMOVE_JOB = "remove a job's container"
    LOCK_DATABASE = "lock database"
    LOCK_AND_KILL = "lock database, kill all"


LEASE_SECONDS = 2.0
"""How long a controller that cannot be seen to be dead leads, in these runs."""
BUSY_SECONDS = 5.0
"""How long the product waits for a locked database."""
_HELD: dict[Fault, tuple[float, float]] = {
    Fault.PAUSE_API: (1.0, 4.0),
    Fault.PAUSE_LEADER: (LEASE_SECONDS + 1.5, LEASE_SECONDS + 3.0),
    Fault.PAUSE_STANDBY: (1.0, LEASE_SECONDS + 2.0),
    Fault.PAUSE_CONTROLLERS: (LEASE_SECONDS + 0.5, LEASE_SECONDS + 2.0),
    Fault.LOCK_DATABASE: (BUSY_SECONDS + 0.5, BUSY_SECONDS + 1.5),
    Fault.LOCK_AND_KILL: (BUSY_SECONDS + 0.5, BUSY_SECONDS + 1.5),
}
_USUALLY_HELD = (0.0, 1.5)
_GAP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of a schedule."""

    at: float
    """Seconds from the beginning of the run."""
    fault: Fault
    held: float
    """Seconds for which a part is down or paused, or the database locked."""
    choice: int
    """Which of those that could be hit then: the n-th, counted round."""


def fault_schedule(seed: int, seconds: float) -> list[PlannedFault]:
    """Return the faults of a run, in their order: each at least once, closer together where the run is short.

    The last tenth of the run has none.
    """
    random = Random(f"{seed}/faults")  # noqa: S311  # what is repeatable is no secret
    end = seconds * 0.9
    gap = min(_GAP_SECONDS, end / (len(Fault) + 1))
    planned: list[PlannedFault] = []
    at = gap
    while True:
        for fault in random.sample(list(Fault), len(Fault)):
            if at >= end and len(planned) >= len(Fault):
                return planned
            held = random.uniform(*_HELD.get(fault, _USUALLY_HELD))
            planned.append(PlannedFault(round(at, 2), fault, round(held, 2), random.randrange(1000)))
            at += random.uniform(0.5, 1.5) * gap
