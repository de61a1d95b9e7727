"""The lease: at most one controller leads per database at any time."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ci_common.errors import LeadershipLost
from ci_common.system.processes import ProcessIdentity
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement

_STATE = Statement("SELECT fence, holder, renewal, seconds FROM lease")

_SLOTS = Statement("SELECT slots FROM lease")

# A new leader, with a fence above all earlier ones, unless the lease has changed since it was read.
_TAKE = Statement("""
UPDATE lease SET fence = fence + 1, holder = :holder, renewal = 0, seconds = :seconds, slots = coalesce(:slots, slots)
WHERE fence = :fence AND renewal = :renewal AND coalesce(holder, '') = :seen
""")

_RENEW = Statement("""
UPDATE lease SET renewal = renewal + 1, seconds = :seconds WHERE fence = :fence AND holder = :holder
""")

_RELEASE = Statement("UPDATE lease SET holder = NULL, seconds = NULL WHERE fence = :fence AND holder = :holder")

# No controller leads in a copy.
_FORGET_LEADER = Statement("UPDATE lease SET holder = NULL, seconds = NULL")


def leads(share_lock: str) -> str:
    """Return the condition that the lease leads, for a statement that writes; then it leads until the commit.

    `share_lock` is the dialect's. Without it, another controller could take the lease between statement and commit.
    """
    return f"EXISTS (SELECT 1 FROM lease WHERE lease.fence = :fence AND lease.holder = :holder{share_lock})"


_ASK_LEADS = Statement(f"SELECT {leads('')} AS leads")


@dataclass(frozen=True, slots=True)
class Lease:
    """Proof of leadership at the time it was given. `fence` is higher than that of every earlier leader."""

    holder: ProcessIdentity
    fence: int
    _stored_holder: str = field(init=False, repr=False, compare=False)
    """The holder as its column has it: every write of the leader asks for it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stored_holder", self.holder.to_json())

    def values(self) -> dict[str, Any]:
        """Return the parameters of the condition `leads`."""
        return {"fence": self.fence, "holder": self._stored_holder}

    def lost(self) -> LeadershipLost:
        """Return the error of a write that this lease may not make any more."""
        return LeadershipLost(f"leadership number {self.fence} is over")


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The present lease. Every renewal changes it.

    A lease that has not changed for `seconds` has expired. An observer measures that with its own uptime, so neither
    the clocks of other machines nor a change of the clock matters.
    """

    fence: int
    renewal: int
    seconds: float


class LeaseStore:
    """The lease of one installation. Every method raises Unavailable where the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self) -> LeaseState | None:
        """Return the present lease, expired or not; None where no controller holds one."""
        return await self._database.read(_state)

    async def slots(self) -> int | None:
        """Return how many jobs run at a time under the controller that leads, or led last; None before the first."""
        return await self._database.read(_slots)

    async def acquire(
        self, holder: ProcessIdentity, seconds: float, expired: LeaseState | None = None, *, slots: int | None = None
    ) -> Lease | None:
        """Return a lease with a new, higher fence if no controller leads, its holder is dead, or it is `expired`.

        `holder` is this process. A dead holder on this machine is recognised at once. A holder that cannot be observed
        from here leads until its lease has expired: `expired` is the lease that the caller has seen unchanged for so
        long. `slots` is how many jobs run at a time under this leader; None for one that runs none.

        Returns None while a controller leads, even one in the same process: the fence tells them apart.
        """
        asked = partial(_acquire, holder=holder, seconds=seconds, expired=expired, slots=slots)
        return await self._database.write(asked)

    async def renew(self, lease: Lease, seconds: float) -> None:
        """Lead for `seconds` more. Raises LeadershipLost where `lease` does not lead."""
        await self._database.write(partial(_renew, lease=lease, seconds=seconds))

    async def release(self, lease: Lease) -> None:
        """Stop leading, so that another controller may begin at once. Does nothing where `lease` does not lead."""
        await self._database.write(partial(_release, lease=lease))


async def check_leads(session: Session, lease: Lease) -> None:
    """Raise LeadershipLost where `lease` does not lead."""
    if not (await session.row(_ASK_LEADS, lease.values()))["leads"]:
        raise lease.lost()


def is_dead(holder: str) -> bool:
    """Return whether the process is known to be dead; that of another machine is not known to be."""
    try:
        process = ProcessIdentity.from_json(holder)
    except ValueError:
        return False  # Another version of the program may name processes in another way.
    return process.is_here() and not process.is_alive()


async def _state(session: Session) -> LeaseState | None:
    row = await session.row(_STATE)
    return None if row["holder"] is None else LeaseState(row["fence"], row["renewal"], row["seconds"])


async def _slots(session: Session) -> int | None:
    slots: int | None = (await session.row(_SLOTS))["slots"]
    return slots


async def _acquire(
    session: Session, *, holder: ProcessIdentity, seconds: float, expired: LeaseState | None, slots: int | None
) -> Lease | None:
    row = await session.row(_STATE)
    if row["holder"] is not None:
        present = LeaseState(row["fence"], row["renewal"], row["seconds"])
        if present != expired and not is_dead(row["holder"]):
            return None
    seen = {"fence": row["fence"], "renewal": row["renewal"], "seen": row["holder"] or ""}
    if await session.execute(_TAKE, seen | {"holder": holder.to_json(), "seconds": seconds, "slots": slots}) == 0:
        return None
    return Lease(holder, row["fence"] + 1)


async def _renew(session: Session, *, lease: Lease, seconds: float) -> None:
    if await session.execute(_RENEW, lease.values() | {"seconds": seconds}) == 0:
        raise lease.lost()


async def _release(session: Session, *, lease: Lease) -> None:
    await session.execute(_RELEASE, lease.values())


async def forget_leader(session: Session) -> None:
    """Release the lease, whichever controller has it; for a copy of a database."""
    await session.execute(_FORGET_LEADER)
