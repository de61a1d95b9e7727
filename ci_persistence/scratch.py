"""What a self-test needs of a database besides the product: a place of its own in it, and a lock on it."""

import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ci_common.configuration.database_address import DatabaseAddress, DatabaseUrl
from ci_common.system.tasks import shield_to_end
from ci_persistence.postgresql import driver

_LOCK_SECONDS = 60.0

logger = logging.getLogger(__name__)


@asynccontextmanager
async def scratch_schema(url: DatabaseUrl, schema: str) -> AsyncIterator[DatabaseAddress]:
    """Make a schema in a server's database, and drop it at the end. Raises Unavailable.

    First, those that killed processes of this machine have left there are dropped.
    """
    with driver():
        from ci_persistence.postgresql import scratch
    for name in await scratch.drop_abandoned(url):
        logger.info("dropped the schema %s, which a killed self-test has left", name)
    await scratch.create(url, schema)
    try:
        yield DatabaseAddress(url=scratch.within(url, schema))
    finally:
        await shield_to_end(scratch.drop(url, schema))


async def end_sessions(url: DatabaseUrl) -> int:
    """End all sessions in a scratch schema, and return how many there were. Raises Unavailable."""
    with driver():
        from ci_persistence.postgresql import scratch
    return await scratch.end_sessions(url)


def hold_lock(address: DatabaseAddress, seconds: float, on_locked: Callable[[], None]) -> None:
    """Lock a database for `seconds`, as a backup or a migration might; waits for the lock. Blocks."""
    if address.path is None:
        assert address.url is not None, "it is a server's database"
        with driver():
            from ci_persistence.postgresql import scratch
        scratch.hold_lock(address.url, seconds, on_locked)
        return
    connection = sqlite3.connect(address.path, timeout=_LOCK_SECONDS, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    on_locked()
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    connection.close()
