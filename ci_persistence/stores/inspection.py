"""What an inspection reads of a database: operations for a session that may be opened without the product running."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ci_common.errors import CiError
from ci_common.findings import Finding
from ci_common.jobs import State
from ci_common.system.processes import ProcessIdentity
from ci_common.times import from_micros
from ci_persistence.database import Session
from ci_persistence.dialects import Statement
from ci_persistence.rows import to_json
from ci_persistence.stores.installations import Installation

_ENVIRONMENTS = Statement("SELECT reference FROM environments")
_LEADER = Statement("SELECT fence, holder FROM lease")

# The unfinished jobs, and where they run.
_UNFINISHED = Statement("""
SELECT jobs.id AS id, attempt, state, runtime, start_time
FROM jobs LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.number = jobs.attempt
WHERE state <> 'completed'
""")

# The latest time in any job: that of the newest one, the last completed one, or an active one.
_NEWEST_TIME = Statement("""
SELECT max(instant) AS instant FROM (
    SELECT submit_time AS instant FROM jobs WHERE id = (SELECT max(id) FROM jobs)
    UNION ALL SELECT max(end_time) FROM jobs WHERE state = 'completed'
    UNION ALL SELECT max(start_time) FROM jobs JOIN attempts ON attempts.job_id = jobs.id WHERE state <> 'completed'
) AS instants
""")

_CACHES = Statement("SELECT id FROM caches")

_SEALED = Statement("SELECT sealed FROM secrets WHERE sealed IS NOT NULL")

_KNOWN_JOBS = Statement(lambda sql: f"SELECT id FROM jobs WHERE id IN {sql.members('ids')}")

# The same, and those of deleted jobs that still have a removal.
_JOBS_OR_REMOVALS = Statement(
    lambda sql: (
        f"""
SELECT id FROM jobs WHERE id IN {sql.members("ids")}
UNION SELECT job_id FROM removals WHERE job_id IN {sql.members("ids")}
"""
    )
)


@dataclass(frozen=True, slots=True)
class Leadership:
    """What the lease says."""

    fence: int
    holder: ProcessIdentity | None
    """None while no controller leads, and where another version of the program wrote it in another form."""
    is_held: bool
    """Whether a controller leads, or led and did not release the lease."""


@dataclass(frozen=True, slots=True)
class UnfinishedJob:
    """A job that has not completed."""

    id: str
    attempt: int
    state: State
    runtime: str | None
    start_time: datetime | None


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """The result of an inspection."""

    findings: tuple[Finding, ...]
    """What was seen of the database itself. The first is about the whole."""
    is_current: bool
    """Whether its schema is the one of this program."""
    leadership: Leadership
    installation: Installation | None
    """None where the schema is older."""
    unfinished: tuple[UnfinishedJob, ...]
    newest: datetime | None
    """The latest time in any job."""


class Trouble(StrEnum):
    """Why a database cannot be inspected."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    UNREACHABLE = "unreachable"
    FOREIGN = "foreign"
    """It is not a database, or not one of ours."""
    LOCKED = "locked"
    DAMAGED = "damaged"
    TOO_NEW = "too_new"
    """A newer version of the program has written it."""


class DatabaseTrouble(CiError):
    """The database cannot be inspected. `finding` says why, and what to do."""

    def __init__(self, kind: Trouble, message: str, finding: Finding) -> None:
        super().__init__(message)
        self.kind = kind
        self.finding = finding


async def leadership(session: Session) -> Leadership:
    """Return what the lease says."""
    row = await session.row(_LEADER)
    try:
        process = None if row["holder"] is None else ProcessIdentity.from_json(row["holder"])
    except ValueError:
        process = None
    return Leadership(row["fence"], process, is_held=row["holder"] is not None)


async def unfinished_jobs(session: Session) -> tuple[UnfinishedJob, ...]:
    """Return the jobs that have not completed."""
    return tuple(
        UnfinishedJob(row["id"], row["attempt"], State(row["state"]), row["runtime"], _instant(row["start_time"]))
        for row in await session.rows(_UNFINISHED)
    )


async def newest_time(session: Session) -> datetime | None:
    """Return the latest time in any job."""
    return _instant((await session.row(_NEWEST_TIME))["instant"])


async def known_jobs(session: Session, job_ids: list[str]) -> set[str]:
    """Return those of the ids that a row has."""
    return {str(row["id"]) for row in await session.rows(_KNOWN_JOBS, {"ids": to_json(job_ids)})}


async def jobs_or_removals(session: Session, job_ids: list[str]) -> set[str]:
    """Return those of the ids that have a row or a removal."""
    return {str(row["id"]) for row in await session.rows(_JOBS_OR_REMOVALS, {"ids": to_json(job_ids)})}


async def environment_rows(session: Session) -> set[str]:
    """Return where the prepared environments are, of all that have a row."""
    return {str(row["reference"]) for row in await session.rows(_ENVIRONMENTS, {})}


async def cache_rows(session: Session) -> set[str]:
    """Return the ids of all caches that have a row."""
    return {str(row["id"]) for row in await session.rows(_CACHES, {})}


async def sealed_secrets(session: Session) -> set[str]:
    """Return the ciphertexts of all secrets."""
    return {str(row["sealed"]) for row in await session.rows(_SEALED, {})}


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
