"""Copies of a database: taken while it is in use, opened by no other process, and kept as one file.

These functions block. All of them raise Unavailable where SQLite fails.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from ci_common.errors import Unavailable
from ci_persistence.sqlite import statements
from ci_persistence.sqlite.connections import SQLiteSession, run_to_end, translated
from ci_persistence.sqlite.schema import check_version, migrations
from ci_persistence.stores.inspection import known_jobs as stored_jobs
from ci_persistence.stores.leases import forget_leader

PageProgress = Callable[[int, int], None]
"""Takes how many pages have been copied so far, and how many there are."""
_PAGES_AT_ONCE = 1024
_BUSY_SECONDS = 5.0


def copy_database(source: Path, target: Path, progress: PageProgress) -> None:
    """Write the database as it is at one moment to `target`, which must not exist; writers do not wait.

    No controller leads in the copy. Raises Unavailable also where `source` is not a database of ours, or is of a newer
    version.
    """
    check_version()
    target.touch(mode=0o600, exist_ok=False)
    with _opened(source) as database:
        _check_ours(source, database)
        # One read transaction around all steps: otherwise every commit of others would restart the copying.
        database.execute(statements.BEGIN_READING)
        database.execute(statements.SCHEMA_VERSION).fetchone()
        with closing(sqlite3.connect(target)) as copy:
            database.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total))
            run_to_end(forget_leader, SQLiteSession(copy))
            copy.commit()
        database.execute(statements.COMMIT)
    fold(target)


def fold(path: Path) -> None:
    """Make a database that no other process has open one complete file, and check it."""
    with _opened(path) as database:
        problems = structural_faults(database)
        if problems:
            raise Unavailable(f"the database {path} is damaged: {problems[0]}")
        database.execute(statements.ONE_FILE)


def structural_faults(database: sqlite3.Connection, check: str = statements.QUICK_CHECK) -> list[str]:
    """Return what is wrong with a database's structure; empty where nothing is."""
    found = [str(row[0]) for row in database.execute(check)]
    broken = [f"row {row[1]} of {row[0]} names a row of {row[2]} that does not exist" for row in _foreign(database)]
    return [text for text in found if text != "ok"] + broken


def known_jobs(path: Path, job_ids: Iterable[str]) -> set[str]:
    """Return those of the ids that a row has."""
    with _opened(path) as database:
        return run_to_end(partial(stored_jobs, job_ids=list(job_ids)), SQLiteSession(database))


def _foreign(database: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    yield from database.execute(statements.FOREIGN_KEY_CHECK)


def _check_ours(path: Path, database: sqlite3.Connection) -> None:
    version, newest = database.execute(statements.SCHEMA_VERSION).fetchone()[0], len(migrations())
    if version > newest:
        raise Unavailable(
            f"the database {path} has schema version {version}, and this version of the program knows only {newest}: "
            "use the newer one that has written it"
        )
    if version == 0:
        raise Unavailable(f"the database {path} is not one of ci-server's; CI_DB_PATH names another")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise Unavailable(f"there is no database at {path.absolute()}; CI_DB_PATH names another place")
    with (
        translated(path),
        closing(
            sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
            )
        ) as database,
    ):
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA foreign_keys = ON")
        yield database
