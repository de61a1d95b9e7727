"""Runs the suite of databases against SQLite and PostgreSQL."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts.database_suite")

from ci_persistence.database import Database  # noqa: E402
from ci_persistence.postgresql.database import PostgreSQLDatabase  # noqa: E402
from ci_persistence.sqlite.database import SQLiteDatabase  # noqa: E402
from tests.contracts.database_suite import DatabaseSuite  # noqa: E402


class TestSQLite(DatabaseSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Callable[[], Database]:
        return lambda: SQLiteDatabase(tmp_path / "jobs.db")


class TestPostgreSQL(DatabaseSuite):
    @pytest.fixture
    def make(self, postgresql_url: str) -> Callable[[], Database]:
        return lambda: PostgreSQLDatabase(postgresql_url)
