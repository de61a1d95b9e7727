"""The same question asked again and again: what did not change since is not read again.

The controller asks for all queued jobs at every wake-up, and there may be thousands of them.
"""

import aiosqlite

from ci_common.jobs import Job
from ci_persistence import queries
from ci_persistence.operations import get_many

_Key = tuple[str, int, int | None]
"""A job's id, version and cancel request; where these are the same, all of the row is."""


class Lookout:
    """Answers one question about jobs, on one connection. `keys_query` selects their keys in order."""

    def __init__(self, keys_query: str) -> None:
        self._keys_query = keys_query
        self._jobs: dict[_Key, Job] = {}

    async def __call__(self, connection: aiosqlite.Connection) -> list[Job]:
        """Return the jobs as they are now."""
        keys = await self._keys(connection)
        if keys != list(self._jobs):
            self._jobs = await self._read(connection)
        return list(self._jobs.values())

    async def _keys(self, connection: aiosqlite.Connection) -> list[_Key]:
        return [tuple(row) for row in await connection.execute_fetchall(self._keys_query)]

    async def _read(self, connection: aiosqlite.Connection) -> dict[_Key, Job]:
        """Return the jobs by their keys, reading those that have changed; keys and jobs are of one moment."""
        await connection.execute(queries.BEGIN_READING)
        try:
            keys = await self._keys(connection)
            fresh = await get_many(connection, job_ids=[key[0] for key in keys if key not in self._jobs])
        finally:
            await connection.execute(queries.COMMIT)
        return {key: self._jobs.get(key) or fresh[key[0]] for key in keys}
