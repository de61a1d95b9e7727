"""The unfinished jobs, which the controller asks for at every wake-up, and what it publishes about its pool."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ci_common.jobs import Job, Reason, ReasonCode, State
from ci_common.pool import NO_POOL, PoolState
from ci_common.times import from_micros
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.stores.jobs import read_jobs
from ci_persistence.stores.leases import Lease, leads

_LENGTH = Statement("SELECT length FROM queue")

_KEYS = """SELECT id || ' ' || version || ' ' || coalesce(CAST(cancel_requested_time AS text), '') AS key FROM jobs
    WHERE state <> 'completed' AND """

# A line for each queued job, by priority and then age: its id, and what changes with every change of the job.
# One text, because there may be ten thousand lines and usually none has changed. All of it is in the index.
_QUEUED = _KEYS + "state = 'queued' ORDER BY priority DESC, id"
_QUEUED_KEYS = Statement(lambda sql: f"SELECT {sql.lines('key', _QUEUED)} AS keys")

# The same for the jobs that hold a slot.
_ACTIVE = _KEYS + "state IN ('starting', 'running')"
_ACTIVE_KEYS = Statement(lambda sql: f"SELECT {sql.lines('key', _ACTIVE)} AS keys")

# Who waits and who holds a slot, in the order of the queue but for turns. The limit of the queue bounds their number.
_STANDING = Statement("""
SELECT id, state, project, owner, priority, submit_time, reason_code, reason_message FROM jobs
WHERE state <> 'completed' AND state IN ('queued', 'starting', 'running') ORDER BY priority DESC, id
""")

# Who got the latest slots: the events of starts among the newest, once for each project and owner.
_LATEST_TURNS = Statement(
    lambda sql: (
        f"""
SELECT project, owner FROM (
    SELECT position, event, project, owner FROM outbox
    ORDER BY {", ".join(f"{column} DESC" for column in sql.commit_order)} LIMIT :limit) AS newest
WHERE event = 'starting' GROUP BY project, owner ORDER BY max(position)
"""
    )
)


@dataclass(frozen=True, slots=True)
class Standing:
    """An unfinished job, as far as the queue goes."""

    job_id: str
    state: State
    project: str | None
    owner: str
    priority: int
    submit_time: datetime
    reason: Reason | None


class QueueStore:
    """The unfinished jobs. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queued = _CachedQuery(_QUEUED_KEYS)
        self._active = _CachedQuery(_ACTIVE_KEYS)

    async def length(self) -> int:
        """Return how many jobs are QUEUED."""
        return await self._database.read(_length)

    async def queued(self) -> list[Job]:
        """Return all QUEUED jobs: higher priority first, then older first."""
        return await self._database.read(self._queued, snapshot=True)

    async def active(self) -> list[Job]:
        """Return all jobs that are STARTING or RUNNING."""
        return await self._database.read(self._active, snapshot=True)

    async def unfinished(self) -> tuple[list[Job], list[Job]]:
        """Return what `active` and `queued` return, at one moment."""
        return await self._database.read(self._unfinished, snapshot=True)

    async def standing(self) -> list[Standing]:
        """Return all unfinished jobs: higher priority first, then older first. May take tens of milliseconds."""
        return await self._database.search(_standing)

    async def latest_turns(self, *, limit: int) -> list[tuple[str | None, str]]:
        """Return of which project and owner the jobs are that the latest `limit` events say were started.

        Each pair comes once, in the order of their last starts, the oldest first.
        """
        return await self._database.read(partial(_latest_turns, limit=limit))

    async def _unfinished(self, session: Session) -> tuple[list[Job], list[Job]]:
        return await self._active(session), await self._queued(session)


class _CachedQuery:
    """One query for jobs, asked often: only the jobs that have changed are read again.

    There may be thousands of jobs. `keys` selects one text with a line for each job, in order: its id, a space, and
    what changes with every change of the job. It needs a session that sees one moment.
    """

    def __init__(self, keys: Statement) -> None:
        self._keys_statement = keys
        self._keys = ""
        self._jobs: dict[str, Job] = {}

    async def __call__(self, session: Session) -> list[Job]:
        """Return the jobs as they are now."""
        text = (await session.row(self._keys_statement))["keys"]
        known = self._jobs  # Only now: another read may have changed both.
        if text != self._keys:
            ids = {key: key.partition(" ")[0] for key in text.splitlines()}
            changed = await read_jobs(session, [job_id for key, job_id in ids.items() if key not in known])
            known = {key: known.get(key) or changed[job_id] for key, job_id in ids.items()}
            self._keys, self._jobs = text, known
        return list(known.values())


async def _length(session: Session) -> int:
    return int((await session.row(_LENGTH))["length"])


async def _standing(session: Session) -> list[Standing]:
    return [
        Standing(
            row["id"],
            State(row["state"]),
            row["project"],
            row["owner"],
            row["priority"],
            from_micros(row["submit_time"]),
            None if row["reason_code"] is None else Reason(ReasonCode(row["reason_code"]), row["reason_message"]),
        )
        for row in await session.rows(_STANDING)
    ]


async def _latest_turns(session: Session, *, limit: int) -> list[tuple[str | None, str]]:
    return [(row["project"], row["owner"]) for row in await session.rows(_LATEST_TURNS, {"limit": limit})]


_GET_POOL = Statement("SELECT state FROM pool")
_SET_POOL = Statement(lambda sql: f"UPDATE pool SET state = :state WHERE {leads(sql.share_lock)}")


class PoolStore:
    """The state of the pool. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self) -> PoolState:
        """Return what the leader published last."""
        return await self._database.read(_get_pool)

    async def publish(self, state: PoolState, lease: Lease) -> None:
        """Publish the pool's state. Raises LeadershipLost where `lease` does not lead."""
        await self._database.write(partial(_publish, state=state, lease=lease))


async def _get_pool(session: Session) -> PoolState:
    state = (await session.row(_GET_POOL))["state"]
    return NO_POOL if state is None else PoolState.model_validate_json(state)


async def _publish(session: Session, *, state: PoolState, lease: Lease) -> None:
    if await session.execute(_SET_POOL, lease.values() | {"state": state.model_dump_json()}) == 0:
        raise lease.lost()
