"""Deletes completed jobs: one at a time, or all that have ended long enough ago.

The rows go here, at once. The files go with the controller, which finds a note of each.
"""

import asyncio
from datetime import datetime, timedelta

from ci_common.errors import FieldError, InvalidRequest, JobAlreadyCompleted
from ci_common.jobs import Job
from ci_common.times import utc_now
from ci_common.wire import CleanupRequest
from ci_persistence.retention import Ended
from ci_server.services import Services

MOST_JOBS = 100_000
"""How many jobs one request deletes at most."""
MOST_SECONDS = 20.0
"""How long one request goes on deleting."""
_BATCH = 1000


async def delete_or_cancel(services: Services, job: Job) -> Job | None:
    """Delete the job where it has completed, and return None; else ask for its end, and return it.

    Raises JobNotFound where somebody else was quicker.
    """
    try:
        return await services.repository.request_cancel(job.id, utc_now())
    except JobAlreadyCompleted:
        if not await services.retention.delete([job.id]):
            await services.repository.get(job.id)
        return None


async def clean_up(services: Services, request: CleanupRequest) -> tuple[list[str], bool]:
    """Delete what is asked for, and return the ids of the jobs that are gone, and whether others are left to delete.

    Where there are very many, not all of them are deleted. With `dry_run` none is. Raises InvalidRequest, Unavailable.
    """
    where = _meant(request, utc_now())
    found = await services.retention.ended(where, limit=MOST_JOBS + 1)
    wanted, more = found[:MOST_JOBS], len(found) > MOST_JOBS
    if request.dry_run:
        return wanted, more
    clock = asyncio.get_running_loop().time
    deadline = clock() + MOST_SECONDS
    deleted: list[str] = []
    for start in range(0, len(wanted), _BATCH):
        if clock() > deadline or services.leaving.begun:
            return deleted, True
        deleted += await services.retention.delete(wanted[start : start + _BATCH])
    return deleted, more


def _meant(request: CleanupRequest, now: datetime) -> Ended:
    if request.older_than is None and request.keep is None:
        message = "say which jobs to delete: those that ended longer ago than this, or all but the newest (keep)"
        raise InvalidRequest(f"the body is not valid: older_than: {message}", FieldError("older_than", message))
    return Ended(
        project=request.project,
        conclusions=frozenset(request.conclusion),
        before=None if request.older_than is None else now - timedelta(seconds=request.older_than),
        keep=request.keep or 0,
    )
