"""Inspects a database without changing it, in whatever state it is, also while other processes use it."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from ci_common.errors import CiError
from ci_common.jobs import State
from ci_common.system.processes import ProcessIdentity
from ci_common.times import from_micros
from ci_persistence.repository import Installation
from ci_persistence.sqlite import queries
from ci_persistence.sqlite.copies import structural_faults
from ci_persistence.sqlite.rows import to_json
from ci_persistence.sqlite.schema import migrations, what_lacks

LOCK_SECONDS = 1.0
"""How long to wait for a lock that another process holds."""
_INSTRUCTIONS_BETWEEN_CHECKS = 10_000


class Trouble(StrEnum):
    """Why a database cannot be inspected."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    FOREIGN = "foreign"
    """It is not a database, or not one of ours."""
    LOCKED = "locked"
    DAMAGED = "damaged"
    TOO_NEW = "too_new"
    """A newer version of the program has written it."""


class DatabaseTrouble(CiError):
    """The database cannot be inspected."""

    def __init__(self, kind: Trouble, message: str) -> None:
        super().__init__(message)
        self.kind = kind


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

    schema_version: int
    newest_schema: int
    """The version that this program brings it to."""
    journal_mode: str
    bytes: int
    wal_bytes: int
    faults: tuple[str, ...]
    """What is wrong with its structure, at most ten lines."""
    was_checked: bool
    """Whether its structure could be checked to the end in time."""
    write_locked: bool
    """Whether another process held the write lock for LOCK_SECONDS."""
    leadership: Leadership
    installation: Installation | None
    """None where the schema is older."""
    unfinished: tuple[UnfinishedJob, ...]
    newest: datetime | None
    """The latest time in any job."""


def inspect_database(path: Path, *, seconds: float) -> DatabaseReport:
    """Inspect the database, and check its structure for at most `seconds`. Blocks.

    Raises DatabaseTrouble.
    """
    with _opened(path) as database:
        version, newest = database.execute(queries.SCHEMA_VERSION).fetchone()[0], len(migrations())
        if version > newest:
            raise DatabaseTrouble(
                Trouble.TOO_NEW, f"its schema version is {version}, and this version of the program knows only {newest}"
            )
        if version == 0:
            raise DatabaseTrouble(Trouble.FOREIGN, "it is not one of ci-server's")
        if version == newest and (lack := what_lacks(database)):
            raise DatabaseTrouble(Trouble.FOREIGN, f"it {lack}")
        faults, was_checked = _check(database, seconds)
        return DatabaseReport(
            schema_version=version,
            newest_schema=newest,
            journal_mode=database.execute(queries.JOURNAL_MODE).fetchone()[0],
            bytes=path.stat().st_size,
            wal_bytes=_size(_wal(path)),
            faults=tuple(faults),
            was_checked=was_checked,
            write_locked=_is_write_locked(path),
            leadership=_leadership(*database.execute(queries.LEADER).fetchone()),
            installation=Installation(*database.execute(queries.INSTALLATION).fetchone())
            if version == newest
            else None,
            unfinished=tuple(_unfinished(row) for row in database.execute(queries.UNFINISHED)),
            newest=_instant(database.execute(queries.NEWEST_TIME).fetchone()[0]),
        )


def jobs_with_rows(path: Path, job_ids: list[str]) -> set[str]:
    """Return those of the ids that have a row or a removal.

    Raises DatabaseTrouble.
    """
    with _opened(path) as database:
        return {str(row[0]) for row in database.execute(queries.JOBS_OR_REMOVALS, {"ids": to_json(job_ids)})}


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not os.path.lexists(path):
        raise DatabaseTrouble(Trouble.MISSING, "there is none")
    # Where there is no -wal, no process has it open; a reader would make one and leave it there.
    immutable = "" if _wal(path).exists() else "&immutable=1"
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro{immutable}"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)) as database:
            yield database
    except sqlite3.Error as exc:
        raise DatabaseTrouble(_kind(exc), str(exc)) from exc
    except OSError as exc:
        raise DatabaseTrouble(Trouble.UNREADABLE, str(exc)) from exc


def _kind(error: sqlite3.Error) -> Trouble:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Trouble.LOCKED
    if name.startswith("SQLITE_NOTADB") or "no such table" in str(error) or "no such column" in str(error):
        return Trouble.FOREIGN
    return Trouble.DAMAGED if name.startswith("SQLITE_CORRUPT") else Trouble.UNREADABLE


def _check(database: sqlite3.Connection, seconds: float) -> tuple[list[str], bool]:
    deadline = time.monotonic() + seconds
    database.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS_BETWEEN_CHECKS)
    try:
        return structural_faults(database, queries.INTEGRITY_CHECK), True
    except sqlite3.OperationalError as exc:
        if getattr(exc, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
            raise
        return [], False
    finally:
        database.set_progress_handler(None, 0)


def _is_write_locked(path: Path) -> bool:
    if not _wal(path).exists() or not os.access(path, os.W_OK):
        return False
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)) as database:
            database.execute(queries.BEGIN)
            database.execute(queries.ROLLBACK)
    except sqlite3.OperationalError as exc:
        if _kind(exc) is not Trouble.LOCKED:
            raise
        return True
    return False


def _leadership(fence: int, holder: str | None) -> Leadership:
    try:
        process = None if holder is None else ProcessIdentity.from_json(holder)
    except ValueError:
        process = None
    return Leadership(fence, process, is_held=holder is not None)


def _unfinished(row: tuple[str, int, str, str | None, int | None]) -> UnfinishedJob:
    job_id, attempt, state, runtime, start_time = row
    return UnfinishedJob(job_id, attempt, State(state), runtime, _instant(start_time))


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _wal(path: Path) -> Path:
    # SQLite follows a link to a database, and puts its files beside the target.
    return path.resolve().with_name(path.resolve().name + "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
