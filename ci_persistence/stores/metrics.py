"""Metrics: counted in the transactions that change jobs, so that reading them costs the same however many there are."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from ci_common.jobs import Job, State
from ci_common.times import finished_stages, to_micros
from ci_persistence.database import Command, Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json
from ci_persistence.stores.leases import is_dead

_COUNTERS = Statement("SELECT name, value FROM counters")

# The present numbers and the leader. Of the jobs it reads only the active ones, in their index.
_PRESENT = Statement("""
SELECT length AS queued, fence AS term, holder,
    (SELECT count(*) FROM jobs WHERE state <> 'completed' AND state = 'starting') AS starting,
    (SELECT count(*) FROM jobs WHERE state <> 'completed' AND state = 'running') AS running,
    (SELECT count(*) FROM removals) AS removals
FROM queue, lease
""")

_COUNT = Statement(
    lambda sql: (
        f"""
INSERT INTO counters (name, value)
SELECT name, value FROM {sql.records("counts", name="text", value="bigint")} WHERE {sql.given}
ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value
"""
    ),
    summed="counts",
)

# The histograms of how long stages took: the buckets that have any job.
_STAGE_TIMES = Statement("SELECT stage, way, bound, jobs, micros FROM stage_times ORDER BY stage, way, bound")

# One more job in a bucket.
_COUNT_STAGES = Statement(
    lambda sql: (
        f"""
INSERT INTO stage_times (stage, way, bound, jobs, micros)
SELECT stage, way, bound, 1, micros
FROM {sql.records("stages", stage="text", way="text", bound="bigint", micros="bigint")} WHERE {sql.given}
ON CONFLICT (stage, way, bound) DO UPDATE SET jobs = stage_times.jobs + 1, micros = stage_times.micros + excluded.micros
"""
    ),
    summed="stages",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The numbers of one moment. Counters only grow: a deleted job stays counted."""

    submitted: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    errored: int = 0
    retried: int = 0
    """Attempts after a job's first."""
    warm: int = 0
    """Attempts that ran in a container that had waited for a job; `cold` and `pull` count the other ways to start."""
    cold: int = 0
    pull: int = 0
    ran: int = 0
    """Completed jobs whose own code had started."""
    ran_micros: int = 0
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
_BUCKETS = (*STAGE_BOUNDS, 2**63 - 1)
"""The upper bounds of the buckets as they are stored; the last one is what a column can hold."""


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


class MetricsStore:
    """The metrics of one installation's jobs. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def metrics(self) -> Metrics:
        """Return the metrics. The cost does not depend on how many jobs have completed."""
        return await self._database.read(_metrics, snapshot=True)

    async def stage_times(self) -> list[StageTimes]:
        """Return the times of all stages that any completed job had, at the same cost."""
        return await self._database.read(_stage_times)


def count(counts: dict[str, int]) -> Command:
    """Return the command that adds to counters, which are fields of `Metrics`."""
    # In one order, so that two transactions never wait for each other's rows.
    records = [{"name": name, "value": counts[name]} for name in sorted(counts)]
    return _COUNT, {"counts": to_json(records)}


ONE_SUBMITTED = count({"submitted": 1})


def count_transition(job: Job) -> Iterator[Command]:
    """Yield the command that counts a job that has just come into its present state, if any."""
    if job.state is State.QUEUED:
        yield count({"retried": 1})
    elif job.state is State.RUNNING and job.start_way is not None:
        yield count({job.start_way: 1})
    elif job.state is State.COMPLETED and job.conclusion is not None and job.end_time is not None:
        counts = {str(job.conclusion): 1}
        if job.start_time is not None:
            counts |= {"ran": 1, "ran_micros": max(0, to_micros(job.end_time) - to_micros(job.start_time))}
        yield count(counts)


def count_stages(before: Job, after: Job) -> Iterator[Command]:
    """Yield the command that counts the stages that a completed job has finished with this change, if any."""
    stages = [
        {
            "stage": stage,
            "way": after.start_way or "",
            "bound": _BUCKETS[bisect_left(_BUCKETS, micros)],
            "micros": micros,
        }
        for stage, micros in sorted(finished_stages(before, after))
        if micros <= _BUCKETS[-1]
    ]
    if stages:
        yield _COUNT_STAGES, {"stages": to_json(stages)}


async def _metrics(session: Session) -> Metrics:
    counters = {row["name"]: row["value"] for row in await session.rows(_COUNTERS)}
    present = dict(await session.row(_PRESENT))
    holder = present.pop("holder")
    return Metrics(leads=holder is not None and not is_dead(holder), **counters, **present)


async def _stage_times(session: Session) -> list[StageTimes]:
    found: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
    for row in await session.rows(_STAGE_TIMES):
        found.setdefault((row["stage"], row["way"]), {})[row["bound"]] = row["jobs"], row["micros"]
    return [
        StageTimes(
            stage,
            way,
            tuple(buckets.get(bound, (0, 0))[0] for bound in _BUCKETS),
            sum(micros for _, micros in buckets.values()),
        )
        for (stage, way), buckets in found.items()
    ]
