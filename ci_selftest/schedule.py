"""The schedule of faults for a seed: which, in what order, how close together, and for how long.

What a fault hits depends on what runs then. Faults come in bursts. Before each burst the installation may complete a
job, so that a slow machine gets as far as a fast one.
"""

from collections.abc import Iterator, Sequence
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

    # Only with an engine:
    KILL_SERVICE = "kill a job's service"
    KILL_SETUP = "kill a setup's container"

    # Only on a server's database:
    CUT_API = "cut API off from database"
    CUT_LEADER = "cut leading controller off from database"
    HOLD_API = "hold back database's answers to API"
    HOLD_LEADER = "hold back database's answers to leading controller"
    LOSE_COMMIT = "cut connection at a commit"
    END_SESSIONS = "end all sessions"
    # Only where the server is the run's own:
    KILL_SERVER = "kill database server"
    ABORT_SERVER = "stop database server at once"
    RESTART_SERVER = "restart database server"


LEASE_SECONDS = 2.0
"""How long the lease outlives a controller whose death cannot be observed, in these runs."""
_BUSY_SECONDS = 5.0
"""How long the product waits for a locked database."""
_HELD: dict[Fault, tuple[float, float]] = {
    Fault.PAUSE_API: (1.0, 4.0),
    Fault.PAUSE_LEADER: (LEASE_SECONDS + 1.5, LEASE_SECONDS + 3.0),
    Fault.PAUSE_STANDBY: (1.0, LEASE_SECONDS + 2.0),
    Fault.PAUSE_CONTROLLERS: (LEASE_SECONDS + 0.5, LEASE_SECONDS + 2.0),
    Fault.LOCK_DATABASE: (_BUSY_SECONDS + 0.5, _BUSY_SECONDS + 1.5),
    Fault.LOCK_AND_KILL: (_BUSY_SECONDS + 0.5, _BUSY_SECONDS + 1.5),
    Fault.CUT_API: (0.5, 4.0),
    Fault.CUT_LEADER: (LEASE_SECONDS + 0.5, LEASE_SECONDS + 3.0),
    Fault.HOLD_API: (0.5, 4.0),
    Fault.HOLD_LEADER: (LEASE_SECONDS + 0.5, LEASE_SECONDS + 3.0),
}
_USUALLY_HELD = (0.0, 1.5)
_SHARE_OF_FIRSTS = 0.5


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of a schedule."""

    fault: Fault
    is_first: bool
    """Whether it begins a burst, before which the installation may complete a job."""
    after: float
    """Seconds to wait before it, after that."""
    held: float
    """Seconds for which a part is down or paused, or the database locked."""
    choice: int
    """Which of the possible targets: this number modulo their number."""


def fault_schedule(seed: int, faults: Sequence[Fault]) -> Iterator[PlannedFault]:
    """Yield some of `faults` forever; every `len(faults)` of them are all different."""
    random = Random(f"{seed}/faults")  # noqa: S311  # repeatable, no secret
    while True:
        for fault in random.sample(faults, len(faults)):
            is_first = random.random() < _SHARE_OF_FIRSTS
            after = random.uniform(0.0, 1.5)
            held = random.uniform(*_HELD.get(fault, _USUALLY_HELD))
            yield PlannedFault(fault, is_first, round(after, 2), round(held, 2), random.randrange(1000))
