"""All stores of one database, for the composition roots. Everything else gets the one store that it needs."""

from collections.abc import Callable
from typing import Generic, TypeVar

from ci_persistence.audited import AuditedDatabase, Note
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.reports.trends import TrendStore
from ci_persistence.stores.access.keys import KeyStore
from ci_persistence.stores.access.places import PlaceStore
from ci_persistence.stores.access.projects import ProjectStore
from ci_persistence.stores.access.quotas import QuotaStore
from ci_persistence.stores.access.secrets import SecretStore
from ci_persistence.stores.audit import AuditStore
from ci_persistence.stores.installations import InstallationStore
from ci_persistence.stores.jobs import JobStore
from ci_persistence.stores.kept.artifacts import ArtifactStore
from ci_persistence.stores.kept.caches import CacheStore
from ci_persistence.stores.kept.environments import EnvironmentStore
from ci_persistence.stores.kept.logs import LogStore
from ci_persistence.stores.kept.records import RecordStore
from ci_persistence.stores.leases import LeaseStore
from ci_persistence.stores.metrics import MetricsStore
from ci_persistence.stores.outbox import OutboxStore
from ci_persistence.stores.queue import PoolStore, QueueStore
from ci_persistence.stores.reports import ReportStore
from ci_persistence.stores.retention import RetentionStore
from ci_persistence.stores.submissions import SubmissionStore

Store = TypeVar("Store")

# A read that needs the database's own file or server.
_PING = Statement("SELECT fence FROM lease")


class _Made(Generic[Store]):
    """A store that is made when it is first used: each request that changes something has stores of its own."""

    def __init__(self, make: Callable[[Database], Store]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, storage: "Storage", owner: type) -> Store:
        store = self._make(storage.database)
        storage.__dict__[self._name] = store  # Found there from now on.
        return store


class Storage:
    """The stores of one database, and their connection."""

    artifacts = _Made(ArtifactStore)
    audit = _Made(AuditStore)
    caches = _Made(CacheStore)
    environments = _Made(EnvironmentStore)
    installations = _Made(InstallationStore)
    jobs = _Made(JobStore)
    keys = _Made(KeyStore)
    leases = _Made(LeaseStore)
    logs = _Made(LogStore)
    metrics = _Made(MetricsStore)
    outbox = _Made(OutboxStore)
    places = _Made(PlaceStore)
    pool = _Made(PoolStore)
    projects = _Made(ProjectStore)
    queue = _Made(QueueStore)
    quotas = _Made(QuotaStore)
    reports = _Made(ReportStore)
    records = _Made(RecordStore)
    retention = _Made(RetentionStore)
    secrets = _Made(SecretStore)
    submissions = _Made(SubmissionStore)
    trends = _Made(TrendStore)

    def __init__(self, database: Database) -> None:
        self.database = database

    def stores(self) -> dict[str, object]:
        """Return all stores by their names."""
        return {name: getattr(self, name) for name, made in vars(Storage).items() if isinstance(made, _Made)}

    def audited(self, note: Note) -> "Storage":
        """Return the same stores, whose first write that changes something adds what `note` says to the audit."""
        return Storage(AuditedDatabase(self.database, note))

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises Unavailable."""
        await self.database.open()

    async def close(self) -> None:
        """Finish the running operations and disconnect. May be called twice, and without `open`."""
        await self.database.close()

    async def ping(self) -> None:
        """Raise Unavailable where the database does not answer a read."""
        await self.database.read(_ping)


async def _ping(session: Session) -> None:
    await session.row(_PING)
