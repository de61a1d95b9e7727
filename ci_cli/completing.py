"""Completes the ids of jobs for a shell."""

import asyncio
from contextlib import suppress

from ci_cli.connection import connected
from ci_cli.tables.jobs import status_text
from ci_common.errors import CiError

_SECONDS = 3.0
_MOST = 30


def latest_jobs(server: str | None, begin: str) -> list[tuple[str, str]]:
    """Return the ids of the latest jobs that begin so, each with what it is; none if no server answers soon."""

    async def find() -> list[tuple[str, str]]:
        async with asyncio.timeout(_SECONDS), connected(server) as connection:
            jobs = await connection.client.list_jobs(limit=_MOST, **({"q": begin} if begin else {}))
        found = [job for job in jobs if job["job_id"].startswith(begin)]
        return [(job["job_id"], f"{status_text(job)} {job.get('project') or ''}".strip()) for job in found]

    with suppress(CiError, OSError, TimeoutError):
        return asyncio.run(find())
    return []
