"""What the doctor finds of databases that are damaged, foreign, locked, old or not to be read."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.doctor import examine
from ci_persistence.sqlite import inspection
from ci_persistence.sqlite.inspection import inspect_database
from ci_persistence.sqlite.schema import migrations
from ci_persistence.sqlite.statements import CONFIGURE_WRITER
from ci_persistence.storage import Storage
from ci_persistence.stores.inspection import DatabaseTrouble, Trouble
from tests.helpers.jobs import PLENTY, new_job
from tests.unit.controller.doctor.examined import found, opened

pytestmark = pytest.mark.slow


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        for page in range(3, 9):
            file.seek(page * 4096)
            file.write(os.urandom(4096))


def in_bad_order(path: Path) -> None:
    """Swap what one index says, which only the check sees."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, 'DESC', '') WHERE name = 'jobs_unfinished'")
        database.commit()


def too_new(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")


def without_a_column(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE lease RENAME COLUMN renewal TO renewed")


def of_others(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE a (b)")


@pytest.mark.parametrize(
    ("fault", "told", "remedy"),
    [
        (damage, "damaged", "ci restore BACKUP"),
        (in_bad_order, "damaged", "ci restore BACKUP"),
        (lambda path: path.write_text("no database" * 500), "foreign", "CI_DB_PATH"),
        (of_others, "foreign", "CI_DB_PATH"),
        (
            without_a_column,
            "foreign: it does not have the schema of this version",
            "CI_DB_PATH",
        ),
        (too_new, "too_new: its schema version is 99", "newer ci-server"),
    ],
)
async def test_a_database_that_cannot_be_used(
    settings: Settings, data: DataDirectory, fault: Any, told: str, remedy: str
) -> None:
    async with opened(settings) as storage:
        for number in range(20):
            await storage.jobs.add(new_job(priority=number % 3), max_queued=PLENTY)
    fault(settings.db_path)
    finding = await found(settings, "database")
    assert finding.ok is False
    assert told in finding.message
    assert remedy in finding.remedy


@contextmanager
def holding(path: Path, *statements: str) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)
        yield


async def test_a_database_that_is_locked(settings: Settings, data: DataDirectory) -> None:
    async with opened(settings):
        pass
    with holding(settings.db_path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE"):
        finding = await found(settings, "database")
    assert (finding.ok, "locked" in finding.message) == (False, True)
    assert finding.remedy.endswith(f"fuser -v {settings.db_path}")


async def test_a_writer_that_does_not_let_go(settings: Settings, storage: Storage) -> None:
    with holding(settings.db_path, "BEGIN IMMEDIATE"):
        finding = await found(settings, "database writes")
        assert (await found(settings, "database")).ok, "it can be read all the same"
    assert (finding.ok, "write lock" in finding.message) == (False, True)
    with holding(settings.db_path, "BEGIN IMMEDIATE", "ROLLBACK"):
        assert all(finding.name != "database writes" for finding in await examine.examine(settings))


async def test_an_older_database_says_so(
    settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "migrations", lambda: [*migrations(), "SELECT 1;"])
    with closing(sqlite3.connect(settings.db_path)) as database:
        database.executescript("".join((*CONFIGURE_WRITER[0], ";", migrations()[0], "PRAGMA user_version = 1")))
    settings.db_path.chmod(0o600)
    finding = await found(settings, "database")
    assert (finding.ok, "brings it to schema version" in finding.message) == (True, True)


async def test_a_check_takes_only_so_long(settings: Settings, storage: Storage) -> None:
    for _ in range(300):
        await storage.jobs.add(new_job(payload={"a": "b" * 2000}), max_queued=PLENTY)
    assert inspect_database(settings.db_path, seconds=20).findings[0].ok is True
    seen = inspect_database(settings.db_path, seconds=-1)
    assert seen.findings[0].ok is None
    assert "too large to be checked" in seen.findings[0].message
    assert len(seen.unfinished) == 300


def test_a_database_that_may_not_be_read(settings: Settings, tmp_path: Path) -> None:
    settings.db_path.mkdir()
    with pytest.raises(DatabaseTrouble) as caught:
        inspect_database(settings.db_path, seconds=1)
    assert caught.value.kind is Trouble.UNREADABLE
