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
        await connection.execute(queries.BEGIN_READING)
        try:
            keys: list[_Key] = [tuple(row) for row in await connection.execute_fetchall(self._keys_query)]
            fresh = await get_many(connection, job_ids=[key[0] for key in keys if key not in self._jobs])
        finally:
            await connection.execute(queries.COMMIT)
        self._jobs = {key: self._jobs.get(key) or fresh[key[0]] for key in keys}
        return list(self._jobs.values())
