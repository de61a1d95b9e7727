"""The protocols of storage. `SQLiteJobRepository` implements both; the suite in tests/contracts runs against each.

Who writes what (law 1): `add` and `request_cancel` belong to the API, `update` and the lease to the controller.
Every method may raise `Unavailable` where the database cannot be reached or its disk is full; nothing is half-written
then.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ci_common.jobs import Conclusion, Job, NewJob, State
from ci_common.pool import PoolState
from ci_common.system.processes import ProcessIdentity


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs `list_jobs` returns; None and empty do not narrow."""

    states: frozenset[State] = frozenset()
    conclusion: Conclusion | None = None
    type: str | None = None
    project: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    """All of these labels, with these values."""
    text: str | None = None
    """Part of the id, project, payload, labels or error; case is ignored for ASCII."""
    since: datetime | None = None
    """Submitted then or later."""
    before: datetime | None = None
    """Submitted earlier."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Proof of leadership at the time it was given. `fence` is higher than that of every earlier leader."""

    holder: ProcessIdentity
    fence: int


@dataclass(frozen=True, slots=True)
class Installation:
    """Whose database it is."""

    id: str
    """What containers carry, so that nobody touches another's."""
    data_path: str | None
    """The data directory it belongs to, absolute and without symbolic links; None until a controller has been there."""


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody's lease as it stands; every renewal makes another one of it.

    One that has not changed for `seconds` has run out. Whoever wants to know measures that with a clock of their own,
    so that it does not matter what the clocks say or that somebody sets them.
    """

    fence: int
    renewal: int
    seconds: float


class JobRepository(Protocol):
    """The jobs of one installation."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date; wait a while where another program keeps the database locked.

        Raises Unavailable, also where a newer version wrote the database.
        """

    async def close(self) -> None:
        """Finish what was begun and disconnect. May be called twice, and without `open`."""

    async def ping(self) -> None:
        """Raise Unavailable where the database does not answer a read."""

    async def installation(self) -> Installation:
        """Return whose database this is. Its id is made with the database."""

    async def bind(self, lease: Lease, installation: Installation) -> None:
        """Write whose database this is. Raises StaleWrite where somebody else leads by now."""

    async def add(self, job: NewJob, *, max_queued: int) -> Job:
        """Store a new job in state QUEUED with reason `waiting_for_controller`, and return it.

        Its `arrival` gets the station `persisting`.

        Durable once it returns. Raises QueueFull where `max_queued` jobs are queued already. A caller that is cancelled
        learns what came of it: CancelledError means that the job is not stored and never will be.
        """

    async def queue_length(self) -> int:
        """Return how many jobs are QUEUED."""

    async def get(self, job_id: str) -> Job:
        """Return the job. Raises JobNotFound."""

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return those of the jobs that exist, by id."""

    async def get_holders(self, workloads: Iterable[str]) -> dict[str, Job]:
        """Return the jobs whose present attempts took these waiting workloads, by workload."""

    async def pool(self) -> PoolState:
        """Return what the leader last told of its pool."""

    async def publish_pool(self, state: PoolState, lease: Lease) -> None:
        """Tell what the pool is like. Raises LeadershipLost where somebody else leads by now, or nobody."""

    async def list_jobs(self, where: JobFilter, *, limit: int, older_than: str | None = None) -> list[Job]:
        """Return at most `limit` jobs, newest first; with `older_than` only those whose id sorts before it."""

    async def request_cancel(self, job_id: str, now: datetime) -> Job:
        """Stamp the time of the first request, and return the job; a later request changes nothing.

        Raises JobNotFound, JobAlreadyCompleted.
        """

    async def queued(self) -> list[Job]:
        """Return all QUEUED jobs in the order in which they are to start: higher priority first, then older first."""

    async def active(self) -> list[Job]:
        """Return all jobs that are STARTING or RUNNING."""

    async def unfinished(self) -> tuple[list[Job], list[Job]]:
        """Return what `active` and `queued` return, by one question."""

    async def update(self, job: Job, lease: Lease, **changes: Any) -> Job:
        """Write `changes` (fields of `Job`) if the row still has `job.version` and `lease` still leads.

        The one compare-and-set function. Returns the job as it now is, with a higher version and with any cancel
        request that came meanwhile. Raises StaleWrite where another version was met, LeadershipLost where another
        leader was or nobody leads, JobNotFound, and ValueError for a transition that `TRANSITIONS` does not have or a
        field the controller does not own.
        """

    def changes(self, see: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        """Yield soon after anybody, through this repository or another, has committed something.

        Several commits may come as one, and a yield may come for nothing; a commit made after the iteration began is
        never missed. The first `anext` returns at once. Close the iterator with `aclose` when done.

        With `see`, that is called with every row that is stored or updated through this repository, as soon as that is
        durable, and there is a yield only for what it is not shown: the commits of other repositories, and deletions.
        """


class LeaderLease(Protocol):
    """At most one controller leads per database at any time."""

    async def held(self) -> Held | None:
        """Return the lease that somebody holds, whether or not it has run out; None where nobody does."""

    async def acquire(self, holder: ProcessIdentity, seconds: float, lapsed: Held | None = None) -> Lease | None:
        """Return a lease with a new, higher fence if nobody leads, its holder is dead, or it is still `lapsed`.

        `holder` is this process, so that a dead holder on this machine is recognised at once; one that cannot be
        judged from here leads until its lease has run out: `lapsed` is what the caller has seen unchanged for so long.
        Returns None while somebody leads, be it another controller in the same process: the fence tells them apart.
        """

    async def renew(self, lease: Lease, seconds: float) -> None:
        """Lead for `seconds` more. Raises LeadershipLost where somebody else leads by now, or nobody."""

    async def release(self, lease: Lease) -> None:
        """Stop leading, so that another may begin at once. Does nothing where somebody else leads."""
