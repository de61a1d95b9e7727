"""The same question asked again and again: what did not change since is not read again.

The controller asks for all queued jobs at every wake-up, and there may be thousands of them.
"""

import sqlite3

from ci_common.jobs import Job
from ci_persistence.sqlite import queries
from ci_persistence.sqlite.operations import get_many

_SEPARATOR = " "


class Lookout:
    """Answers one question about jobs, on one connection.

    `keys_query` selects one text with a line for each job, in their order: the id, a space, and what is the same only
    as long as all of the job is.
    """

    def __init__(self, keys_query: str) -> None:
        self._keys_query = keys_query
        self._keys = ""
        self._jobs: dict[str, Job] = {}

    def __call__(self, connection: sqlite3.Connection) -> list[Job]:
        """Return the jobs as they are now."""
        if self._read_keys(connection) != self._keys:
            self._read(connection)
        return list(self._jobs.values())

    def _read_keys(self, connection: sqlite3.Connection) -> str:
        ((keys,),) = connection.execute(self._keys_query)
        return str(keys)

    def _read(self, connection: sqlite3.Connection) -> None:
        """Read the jobs that have changed; keys and jobs are of one moment."""
        connection.execute(queries.BEGIN_READING)
        try:
            text = self._read_keys(connection)
            keys = text.splitlines()
            changed = [key.partition(_SEPARATOR)[0] for key in keys if key not in self._jobs]
            fresh = get_many(connection, job_ids=changed)
        finally:
            connection.execute(queries.COMMIT)
        self._jobs = {key: self._jobs.get(key) or fresh[key.partition(_SEPARATOR)[0]] for key in keys}
        self._keys = text
