"""The protocols of storage. `SQLiteJobRepository` implements them; the suites in tests/contracts run against each.

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
    """The installation that owns the database."""

    id: str
    """The label of its containers, so that two installations on one engine never touch each other's."""
    data_path: str | None
    """Its data directory, absolute and without symbolic links; None until a controller has used the database."""


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The present lease. Every renewal changes it.

    A lease that has not changed for `seconds` has expired. An observer measures that with its own uptime, so neither
    the clocks of other machines nor a change of the clock matters.
    """

    fence: int
    renewal: int
    seconds: float


class Database(Protocol):
    """The connection to one installation's database."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date; wait a while where another program keeps the database locked.

        Raises Unavailable, also where a newer version wrote the database.
        """

    async def close(self) -> None:
        """Finish the running operations and disconnect. May be called twice, and without `open`."""

    async def ping(self) -> None:
        """Raise Unavailable where the database does not answer a read."""

    async def installation(self) -> Installation:
        """Return the installation that owns the database. Its id is made with the database."""

    async def bind(self, lease: Lease, installation: Installation) -> None:
        """Set the installation that owns the database. Raises StaleWrite where `lease` does not lead."""


class JobReader(Protocol):
    """Reads the jobs of one installation."""

    async def get(self, job_id: str) -> Job:
        """Return the job. Raises JobNotFound."""

    async def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return those of the jobs that exist, by id."""

    async def list_jobs(self, where: JobFilter, *, limit: int, older_than: str | None = None) -> list[Job]:
        """Return at most `limit` jobs, newest first; with `older_than` only those whose id sorts before it."""

    async def queue_length(self) -> int:
        """Return how many jobs are QUEUED."""

    async def queued(self) -> list[Job]:
        """Return all QUEUED jobs in the order in which they are to start: higher priority first, then older first."""

    async def active(self) -> list[Job]:
        """Return all jobs that are STARTING or RUNNING."""

    async def unfinished(self) -> tuple[list[Job], list[Job]]:
        """Return what `active` and `queued` return, in one round trip."""

    def changes(self, on_row: Callable[[Job], object] | None = None) -> AsyncGenerator[None, None]:
        """Yield soon after every commit to the database, by this repository or by any other.

        Several commits may cause one yield, and a yield may come without a commit; a commit made after the iteration
        began is never missed. The first `anext` returns at once. Close the iterator with `aclose` when done.

        With `on_row`, it is called with every row that is stored or updated through this repository, as soon as that is
        durable. Then only other changes cause a yield: commits of other repositories, and deletions.
        """


class PoolStatus(Protocol):
    """What the leading controller publishes about its pool of waiting containers."""

    async def pool(self) -> PoolState:
        """Return what the leader published last."""

    async def publish_pool(self, state: PoolState, lease: Lease) -> None:
        """Publish the pool's state. Raises LeadershipLost where `lease` does not lead."""


class JobRepository(JobReader, PoolStatus, Protocol):
    """Reads and writes the jobs of one installation."""

    async def add(self, job: NewJob, *, max_queued: int) -> Job:
        """Store a new job in state QUEUED with reason `waiting_for_controller`, and return it.

        Its `arrival` gets the station `persisting`.

        Durable once it returns. Raises QueueFull where `max_queued` jobs are queued already. A cancelled caller learns
        the outcome: CancelledError means that the job is not stored and never will be.
        """

    async def request_cancel(self, job_id: str, now: datetime) -> Job:
        """Stamp the time of the first request, and return the job; a later request changes nothing.

        Raises JobNotFound, JobAlreadyCompleted.
        """

    async def update(self, job: Job, lease: Lease, **changes: Any) -> Job:
        """Write `changes` (fields of `Job`) if the row still has `job.version` and `lease` still leads.

        The one compare-and-set function. Returns the job as it now is, with a higher version and with a cancel request
        that was made since `job` was read. Raises StaleWrite where the row has another version, LeadershipLost where
        `lease` does not lead, JobNotFound, and ValueError for a transition that `TRANSITIONS` does not have or a field
        the controller does not own.
        """


class LeaderLease(Protocol):
    """At most one controller leads per database at any time."""

    async def lease_state(self) -> LeaseState | None:
        """Return the present lease, expired or not; None where no controller holds one."""

    async def acquire(self, holder: ProcessIdentity, seconds: float, expired: LeaseState | None = None) -> Lease | None:
        """Return a lease with a new, higher fence if no controller leads, its holder is dead, or it is `expired`.

        `holder` is this process. A dead holder on this machine is recognised at once. A holder that cannot be observed
        from here leads until its lease has expired: `expired` is the lease that the caller has seen unchanged for so
        long. Returns None while a controller leads, even one in the same process: the fence tells them apart.
        """

    async def renew(self, lease: Lease, seconds: float) -> None:
        """Lead for `seconds` more. Raises LeadershipLost where `lease` does not lead."""

    async def release(self, lease: Lease) -> None:
        """Stop leading, so that another controller may begin at once. Does nothing where `lease` does not lead."""
