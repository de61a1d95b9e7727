"""All protocols of storage together, for the composition roots. Everything else names the one that it needs."""

from typing import Protocol

from ci_persistence.metrics import JobMetrics
from ci_persistence.repository import Database, JobRepository, LeaderLease
from ci_persistence.retention import JobRetention


class Storage(Database, JobRepository, JobRetention, JobMetrics, LeaderLease, Protocol):
    """What an implementation of storage is."""
