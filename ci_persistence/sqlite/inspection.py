"""Inspects a database without changing it, in whatever state it is, also while other processes use it."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from ci_common.findings import Finding
from ci_common.parsing.text import shown_size
from ci_persistence.sqlite import statements
from ci_persistence.sqlite.connections import SQLiteSession, run_to_end
from ci_persistence.sqlite.copies import structural_faults
from ci_persistence.sqlite.schema import migrations, what_lacks
from ci_persistence.stores.inspection import (
    DatabaseReport,
    DatabaseTrouble,
    Trouble,
    cache_rows,
    environment_rows,
    jobs_or_removals,
    leadership,
    newest_time,
    sealed_secrets,
    unfinished_jobs,
)
from ci_persistence.stores.installations import get_installation

LOCK_SECONDS = 1.0
"""How long to wait for a lock that another process holds."""
_INSTRUCTIONS_BETWEEN_CHECKS = 10_000
_MUCH_WAL = 256 * 1024**2
_RESTORE = "restore a backup: move it and the data directory away, then ci restore BACKUP"
_REMEDIES = {
    Trouble.UNREADABLE: "run ci as the user whose database it is, or name another place with CI_DB_PATH: ls -l {path}",
    Trouble.FOREIGN: "name another place with CI_DB_PATH",
    Trouble.LOCKED: "see who holds it, and end that: fuser -v {path}",
    Trouble.DAMAGED: _RESTORE,
    Trouble.TOO_NEW: "use the newer ci-server that has written it, or restore a backup of before: ci restore BACKUP",
}


def inspect_database(path: Path, *, seconds: float) -> DatabaseReport:
    """Inspect the database, and check its structure for at most `seconds`. Blocks.

    Raises DatabaseTrouble.
    """
    with _opened(path) as database:
        version, newest = database.execute(statements.SCHEMA_VERSION).fetchone()[0], len(migrations())
        if version > newest:
            message = f"its schema version is {version}, and this version of the program knows only {newest}"
            raise _trouble(Trouble.TOO_NEW, message, path)
        if version == 0:
            raise _trouble(Trouble.FOREIGN, "it is not one of ci-server's", path)
        if version == newest and (lack := what_lacks(database)):
            raise _trouble(Trouble.FOREIGN, f"it {lack}", path)
        session = SQLiteSession(database)
        return DatabaseReport(
            findings=(_soundness(path.absolute(), database, version, seconds), *_writing(path.absolute())),
            is_current=version == newest,
            leadership=run_to_end(leadership, session),
            installation=run_to_end(get_installation, session) if version == newest else None,
            unfinished=run_to_end(unfinished_jobs, session),
            newest=run_to_end(newest_time, session),
        )


def _soundness(path: Path, database: sqlite3.Connection, version: int, seconds: float) -> Finding:
    faults, was_checked = _check(database, seconds)
    size = f"{shown_size(path.stat().st_size)} and {shown_size(_size(_wal(path)))} of write-ahead log"
    what = f"{path}, schema version {version}, {size}"
    if faults:
        return Finding("database", False, f"{path}: damaged: {'; '.join(faults[:3])}", _RESTORE)
    if version < len(migrations()):
        what += f"; the next start brings it to schema version {len(migrations())}"
    if not was_checked:
        remedy = f"check it, which takes longer: sqlite3 {path} 'PRAGMA integrity_check'"
        return Finding("database", None, f"{what}; too large to be checked here to the end", remedy)
    return Finding("database", True, what)


def _writing(path: Path) -> list[Finding]:
    if _is_write_locked(path):
        remedy = f"see who has it open, and end what does not answer: fuser -v {path}"
        return [Finding("database writes", False, "another process holds the write lock and does not let go", remedy)]
    if (size := _size(_wal(path))) > _MUCH_WAL:
        message = f"the write-ahead log has {shown_size(size)}: a reader holds on to an old state"
        return [Finding("database writes", None, message, f"see who has it open for long: fuser -v {path}")]
    return []


def _trouble(kind: Trouble, message: str, path: Path) -> DatabaseTrouble:
    place = path.absolute()
    if kind is Trouble.MISSING:
        return DatabaseTrouble(
            kind, message, Finding("database", True, f"none at {place} yet; the first start makes it")
        )
    remedy = _REMEDIES[kind].format(path=place)
    return DatabaseTrouble(kind, message, Finding("database", False, f"{place}: {kind}: {message}", remedy))


def jobs_with_rows(path: Path, job_ids: list[str]) -> set[str]:
    """Return those of the ids that have a row or a removal.

    Raises DatabaseTrouble.
    """
    with _opened(path) as database:
        return run_to_end(partial(jobs_or_removals, job_ids=job_ids), SQLiteSession(database))


def environment_references(path: Path) -> set[str]:
    """Return where the prepared environments are, of all that have a row. Raises DatabaseTrouble."""
    with _opened(path) as database:
        return run_to_end(environment_rows, SQLiteSession(database))


def cache_ids(path: Path) -> set[str]:
    """Return the ids of all caches that have a row. Raises DatabaseTrouble."""
    with _opened(path) as database:
        return run_to_end(cache_rows, SQLiteSession(database))


def sealed_texts(path: Path) -> set[str]:
    """Return the ciphertexts of all secrets. Raises DatabaseTrouble."""
    with _opened(path) as database:
        return run_to_end(sealed_secrets, SQLiteSession(database))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not os.path.lexists(path):
        raise _trouble(Trouble.MISSING, "there is none", path)
    # Where there is no -wal, no process has it open; a reader would make one and leave it there.
    immutable = "" if _wal(path).exists() else "&immutable=1"
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro{immutable}"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)) as database:
            database.row_factory = sqlite3.Row
            yield database
    except sqlite3.Error as exc:
        raise _trouble(_kind(exc), str(exc), path) from exc
    except OSError as exc:
        raise _trouble(Trouble.UNREADABLE, str(exc), path) from exc


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
        return structural_faults(database, statements.INTEGRITY_CHECK), True
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
            database.execute(statements.BEGIN)
            database.execute(statements.ROLLBACK)
    except sqlite3.OperationalError as exc:
        if _kind(exc) is not Trouble.LOCKED:
            raise
        return True
    return False


def _wal(path: Path) -> Path:
    # SQLite follows a link to a database, and puts its files beside the target.
    return path.resolve().with_name(path.resolve().name + "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
