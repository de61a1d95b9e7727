"""Runs the suites of storage against every implementation there is."""

from pathlib import Path

import pytest

for suite in ("job_repository_place", "job_repository_suite", "job_repository_concurrency_suite", "leader_lease_suite"):
    pytest.register_assert_rewrite(f"tests.contracts.{suite}")
pytest.register_assert_rewrite("tests.helpers.waiting")

from ci_persistence.sqlite import SQLiteJobRepository  # noqa: E402
from tests.contracts.job_repository_concurrency_suite import ConcurrencySuite  # noqa: E402
from tests.contracts.job_repository_place import Place  # noqa: E402
from tests.contracts.job_repository_suite import JobSuite  # noqa: E402
from tests.contracts.leader_lease_suite import LeaderLeaseSuite  # noqa: E402


class OnSQLite:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = tmp_path / "jobs.db"
        return Place(
            repository=lambda: SQLiteJobRepository(path),
            imports="from pathlib import Path; from ci_persistence.sqlite import SQLiteJobRepository",
            expression=f"SQLiteJobRepository(Path({str(path)!r}))",
        )


class TestJobsOnSQLite(OnSQLite, JobSuite):
    pass


class TestConcurrencyOnSQLite(OnSQLite, ConcurrencySuite):
    pass


class TestLeaderLeaseOnSQLite(OnSQLite, LeaderLeaseSuite):
    pass
