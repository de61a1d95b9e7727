"""All stores of one database, for the composition roots. Everything else gets the one store that it needs."""

from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.stores.access.keys import KeyStore
from ci_persistence.stores.access.projects import ProjectStore
from ci_persistence.stores.access.quotas import QuotaStore
from ci_persistence.stores.access.secrets import SecretStore
from ci_persistence.stores.artifacts import ArtifactStore
from ci_persistence.stores.caches import CacheStore
from ci_persistence.stores.environments import EnvironmentStore
from ci_persistence.stores.installations import InstallationStore
from ci_persistence.stores.jobs import JobStore
from ci_persistence.stores.leases import LeaseStore
from ci_persistence.stores.logs import LogStore
from ci_persistence.stores.metrics import MetricsStore
from ci_persistence.stores.outbox import OutboxStore
from ci_persistence.stores.queue import PoolStore, QueueStore
from ci_persistence.stores.records import RecordStore
from ci_persistence.stores.reports import ReportStore
from ci_persistence.stores.retention import RetentionStore
from ci_persistence.stores.submissions import SubmissionStore

# A read that needs the database's own file or server.
_PING = Statement("SELECT fence FROM lease")


class Storage:
    """The stores of one database, and their connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.artifacts = ArtifactStore(database)
        self.caches = CacheStore(database)
        self.environments = EnvironmentStore(database)
        self.installations = InstallationStore(database)
        self.jobs = JobStore(database)
        self.keys = KeyStore(database)
        self.leases = LeaseStore(database)
        self.logs = LogStore(database)
        self.metrics = MetricsStore(database)
        self.outbox = OutboxStore(database)
        self.pool = PoolStore(database)
        self.projects = ProjectStore(database)
        self.queue = QueueStore(database)
        self.quotas = QuotaStore(database)
        self.reports = ReportStore(database)
        self.records = RecordStore(database)
        self.retention = RetentionStore(database)
        self.secrets = SecretStore(database)
        self.submissions = SubmissionStore(database)

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
