"""What the leading controller publishes about its pool of warm containers."""

from functools import partial

from ci_common.pool import NO_POOL, PoolState
from ci_persistence.database import Database, Session
from ci_persistence.dialects import Statement
from ci_persistence.stores.leases import Lease, leads

_GET = Statement("SELECT state FROM pool")
_SET = Statement(lambda sql: f"UPDATE pool SET state = :state WHERE {leads(sql.share_lock)}")


class PoolStore:
    """The state of the pool. Every method may raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self) -> PoolState:
        """Return what the leader published last."""
        return await self._database.read(_get)

    async def publish(self, state: PoolState, lease: Lease) -> None:
        """Publish the pool's state. Raises LeadershipLost where `lease` does not lead."""
        await self._database.write(partial(_publish, state=state, lease=lease))


async def _get(session: Session) -> PoolState:
    state = (await session.row(_GET))["state"]
    return NO_POOL if state is None else PoolState.model_validate_json(state)


async def _publish(session: Session, *, state: PoolState, lease: Lease) -> None:
    if await session.execute(_SET, lease.values() | {"state": state.model_dump_json()}) == 0:
        raise lease.lost()
