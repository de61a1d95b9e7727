"""Runs the suites of storage against every implementation there is."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.job_metrics_suite",
    "tests.contracts.job_listing_suite",
    "tests.contracts.job_repository_concurrency_suite",
    "tests.contracts.job_repository_place",
    "tests.contracts.job_repository_suite",
    "tests.contracts.job_retention_suite",
    "tests.contracts.leader_lease_suite",
    "tests.contracts.pool_suite",
)

from ci_persistence.sqlite.repository import SQLiteJobRepository  # noqa: E402
from tests.contracts.job_listing_suite import ListingSuite  # noqa: E402
from tests.contracts.job_metrics_suite import MetricsSuite  # noqa: E402
from tests.contracts.job_repository_concurrency_suite import ConcurrencySuite  # noqa: E402
from tests.contracts.job_repository_place import Place  # noqa: E402
from tests.contracts.job_repository_suite import JobSuite  # noqa: E402
from tests.contracts.job_retention_suite import RetentionSuite  # noqa: E402
from tests.contracts.leader_lease_suite import LeaderLeaseSuite  # noqa: E402
from tests.contracts.pool_suite import PoolSuite  # noqa: E402


class OnSQLite:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = tmp_path / "jobs.db"
        return Place(
            repository=lambda: SQLiteJobRepository(path),
            imports="from pathlib import Path; from ci_persistence.sqlite.repository import SQLiteJobRepository",
            expression=f"SQLiteJobRepository(Path({str(path)!r}))",
        )


class TestJobsOnSQLite(OnSQLite, JobSuite):
    pass


class TestListingOnSQLite(OnSQLite, ListingSuite):
    pass


class TestMetricsOnSQLite(OnSQLite, MetricsSuite):
    pass


class TestRetentionOnSQLite(OnSQLite, RetentionSuite):
    pass


class TestConcurrencyOnSQLite(OnSQLite, ConcurrencySuite):
    pass


class TestPoolOnSQLite(OnSQLite, PoolSuite):
    pass


class TestLeaderLeaseOnSQLite(OnSQLite, LeaderLeaseSuite):
    pass
