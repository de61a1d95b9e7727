"""The installation that owns the database."""

from dataclasses import asdict, dataclass, field
from functools import partial

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import DatabaseUnavailable
from ci_common.owner_file import BoundDatabase
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.stores.leases import Lease, leads

_GET = Statement(lambda sql: f"SELECT id, data_path, {sql.server_id} AS server_id FROM installation")

# A restored database has no row until its restore is complete.
_BIND = Statement(
    lambda sql: (
        f"""
INSERT INTO installation (only_row, id, data_path) SELECT 1, :id, :data_path WHERE {leads(sql.share_lock)}
ON CONFLICT (only_row) DO UPDATE SET id = excluded.id, data_path = excluded.data_path
"""
    )
)


@dataclass(frozen=True, slots=True)
class Installation:
    """The installation that owns the database."""

    id: str
    """The label of its containers, so that two installations on one engine never touch each other's."""
    data_path: str | None
    """Its data directory, absolute and without symbolic links; None until a controller has used the database."""
    server_id: str = field(default="", compare=False)
    """What the database's server calls the database; empty for a file."""

    def bound(self, address: DatabaseAddress) -> BoundDatabase:
        """Return the database at `address`, which is where this was read."""
        return BoundDatabase(address, self.id, self.data_path, self.server_id)


class InstallationStore:
    """Which installation a database belongs to. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self) -> Installation:
        """Return the installation that owns the database. Its id is made with the database."""
        return await self._database.read(get_installation)

    async def bind(self, lease: Lease, installation: Installation) -> None:
        """Set the installation that owns the database. Raises LeadershipLost where `lease` does not lead."""
        await self._database.write(partial(_bind, lease=lease, installation=installation))


async def get_installation(session: Session) -> Installation:
    """Return the installation; for those who inspect a database without opening it."""
    rows = await session.rows(_GET)
    if not rows:
        raise DatabaseUnavailable(
            "a restore into this database was interrupted: make it empty (DROP DATABASE, CREATE DATABASE), "
            "and restore again"
        )
    return Installation(rows[0]["id"], rows[0]["data_path"], rows[0]["server_id"])


async def _bind(session: Session, *, lease: Lease, installation: Installation) -> None:
    if await session.execute(_BIND, lease.values() | asdict(installation)) == 0:
        raise lease.lost()
