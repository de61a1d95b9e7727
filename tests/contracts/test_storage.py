"""Runs the suites of storage against every implementation there is."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.job_metrics_suite",
    "tests.contracts.job_listing_suite",
    "tests.contracts.storage_concurrency_suite",
    "tests.contracts.storage_place",
    "tests.contracts.job_store_suite",
    "tests.contracts.job_retention_suite",
    "tests.contracts.leader_lease_suite",
    "tests.contracts.outbox_suite",
    "tests.contracts.artifact_suite",
    "tests.contracts.audit_suite",
    "tests.contracts.cache_suite",
    "tests.contracts.environment_suite",
    "tests.contracts.group_suite",
    "tests.contracts.key_suite",
    "tests.contracts.pool_suite",
    "tests.contracts.project_suite",
    "tests.contracts.queue_suite",
    "tests.contracts.quota_suite",
    "tests.contracts.report_suite",
    "tests.contracts.secret_suite",
    "tests.contracts.trend_suite",
)

from ci_persistence.open import sqlite_storage  # noqa: E402
from ci_persistence.postgresql.database import PostgreSQLDatabase  # noqa: E402
from ci_persistence.storage import Storage  # noqa: E402
from tests.contracts.artifact_suite import ArtifactSuite  # noqa: E402
from tests.contracts.audit_suite import AuditSuite, Tampered  # noqa: E402
from tests.contracts.cache_suite import CacheSuite  # noqa: E402
from tests.contracts.environment_suite import EnvironmentSuite  # noqa: E402
from tests.contracts.group_suite import GroupSuite  # noqa: E402
from tests.contracts.job_listing_suite import ListingSuite  # noqa: E402
from tests.contracts.job_metrics_suite import MetricsSuite  # noqa: E402
from tests.contracts.job_retention_suite import RetentionSuite  # noqa: E402
from tests.contracts.job_store_suite import JobSuite  # noqa: E402
from tests.contracts.key_suite import KeySuite  # noqa: E402
from tests.contracts.leader_lease_suite import LeaderLeaseSuite  # noqa: E402
from tests.contracts.outbox_suite import OutboxSuite  # noqa: E402
from tests.contracts.place_suite import PlaceSuite  # noqa: E402
from tests.contracts.pool_suite import PoolSuite  # noqa: E402
from tests.contracts.project_suite import ProjectSuite  # noqa: E402
from tests.contracts.queue_suite import QueueSuite  # noqa: E402
from tests.contracts.quota_suite import QuotaSuite  # noqa: E402
from tests.contracts.report_suite import ReportSuite  # noqa: E402
from tests.contracts.secret_suite import SecretSuite  # noqa: E402
from tests.contracts.storage_concurrency_suite import ConcurrencySuite  # noqa: E402
from tests.contracts.storage_place import Place  # noqa: E402
from tests.contracts.stored_log_suite import StoredLogSuite  # noqa: E402
from tests.contracts.trend_suite import TrendSuite  # noqa: E402


class OnSQLite:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = tmp_path / "jobs.db"
        return Place(
            storage=lambda: sqlite_storage(path),
            imports="from pathlib import Path; from ci_persistence.open import sqlite_storage",
            expression=f"sqlite_storage(Path({str(path)!r}))",
        )


class OnPostgreSQL:
    @pytest.fixture
    def place(self, postgresql_url: str) -> Place:
        return Place(
            storage=lambda: Storage(PostgreSQLDatabase(postgresql_url)),
            imports=(
                "from ci_persistence.postgresql.database import PostgreSQLDatabase; "
                "from ci_persistence.storage import Storage"
            ),
            expression=f"Storage(PostgreSQLDatabase({postgresql_url!r}))",
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


class TestEnvironmentsOnSQLite(OnSQLite, EnvironmentSuite):
    pass


class TestArtifactsOnSQLite(OnSQLite, ArtifactSuite):
    pass


class TestStoredLogsOnSQLite(OnSQLite, StoredLogSuite):
    pass


class TestCachesOnSQLite(OnSQLite, CacheSuite):
    pass


class TestKeysOnSQLite(OnSQLite, KeySuite):
    pass


class TestProjectsOnSQLite(OnSQLite, ProjectSuite):
    pass


class TestSecretsOnSQLite(OnSQLite, SecretSuite):
    pass


class TestQuotasOnSQLite(OnSQLite, QuotaSuite):
    pass


class TestPlacesOnSQLite(OnSQLite, PlaceSuite):
    pass


class TestReportsOnSQLite(OnSQLite, ReportSuite):
    pass


class TestTrendsOnSQLite(OnSQLite, TrendSuite):
    pass


class TestPoolOnSQLite(OnSQLite, PoolSuite):
    pass


class TestQueueOnSQLite(OnSQLite, QueueSuite):
    pass


class TestGroupsOnSQLite(OnSQLite, GroupSuite):
    pass


class TestOutboxOnSQLite(OnSQLite, OutboxSuite):
    pass


class TestLeaderLeaseOnSQLite(OnSQLite, LeaderLeaseSuite):
    pass


class TestJobsOnPostgreSQL(OnPostgreSQL, JobSuite):
    pass


class TestListingOnPostgreSQL(OnPostgreSQL, ListingSuite):
    pass


class TestMetricsOnPostgreSQL(OnPostgreSQL, MetricsSuite):
    pass


class TestRetentionOnPostgreSQL(OnPostgreSQL, RetentionSuite):
    pass


class TestConcurrencyOnPostgreSQL(OnPostgreSQL, ConcurrencySuite):
    pass


class TestEnvironmentsOnPostgreSQL(OnPostgreSQL, EnvironmentSuite):
    pass


class TestArtifactsOnPostgreSQL(OnPostgreSQL, ArtifactSuite):
    pass


class TestStoredLogsOnPostgreSQL(OnPostgreSQL, StoredLogSuite):
    pass


class TestCachesOnPostgreSQL(OnPostgreSQL, CacheSuite):
    pass


class TestKeysOnPostgreSQL(OnPostgreSQL, KeySuite):
    pass


class TestProjectsOnPostgreSQL(OnPostgreSQL, ProjectSuite):
    pass


class TestSecretsOnPostgreSQL(OnPostgreSQL, SecretSuite):
    pass


class TestQuotasOnPostgreSQL(OnPostgreSQL, QuotaSuite):
    pass


class TestPlacesOnPostgreSQL(OnPostgreSQL, PlaceSuite):
    pass


class TestReportsOnPostgreSQL(OnPostgreSQL, ReportSuite):
    pass


class TestTrendsOnPostgreSQL(OnPostgreSQL, TrendSuite):
    pass


class TestPoolOnPostgreSQL(OnPostgreSQL, PoolSuite):
    pass


class TestQueueOnPostgreSQL(OnPostgreSQL, QueueSuite):
    pass


class TestGroupsOnPostgreSQL(OnPostgreSQL, GroupSuite):
    pass


class TestLeaderLeaseOnPostgreSQL(OnPostgreSQL, LeaderLeaseSuite):
    pass


class TestOutboxOnPostgreSQL(OnPostgreSQL, OutboxSuite):
    pass


class TestAuditOnSQLite(OnSQLite, AuditSuite):
    pass


class TestAuditOnPostgreSQL(OnPostgreSQL, AuditSuite):
    pass


class TestTamperedAuditOnSQLite(OnSQLite, Tampered):
    pass


class TestTamperedAuditOnPostgreSQL(OnPostgreSQL, Tampered):
    pass
