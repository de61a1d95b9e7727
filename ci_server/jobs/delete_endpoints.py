"""Cancels jobs, and deletes completed ones: one at a time, or all that ended long enough ago.

The rows are deleted here, at once. The controller removes the files: it finds a note of each deleted job.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from starlette.responses import Response

from ci_common.access.identity import Identity, Scope
from ci_common.errors import FieldError, InvalidRequest, JobAlreadyCompleted, JobNotFound
from ci_common.jobs import Job
from ci_common.times import utc_now
from ci_common.wire.answers import CleanupView, PendingCleanupView
from ci_common.wire.requests import CleanupRequest
from ci_persistence.stores.retention import Ended
from ci_server.endpoints import Answer, Call, Endpoint, RateClass, Reach, json_answer, model_body
from ci_server.http.requests import NoQuery
from ci_server.http.responses import Document
from ci_server.jobs.job_view import accepted, accepted_answer, find_job
from ci_server.services import Services

MOST_JOBS = 100_000
"""How many jobs one request deletes at most."""
MOST_SECONDS = 20.0
"""How long one request goes on deleting."""
_BATCH = 1000


async def cancel_job(call: Call[NoQuery, None]) -> Response:
    job = await _find_counted(call)
    return await accepted(call.services, await call.services.storage.jobs.request_cancel(job.id, utc_now()))


async def delete_job(call: Call[NoQuery, None]) -> Response:
    cancelled = await _delete_or_cancel(call.services, await _find_counted(call))
    return Response(status_code=204) if cancelled is None else await accepted(call.services, cancelled)


async def clean_up_jobs(call: Call[NoQuery, CleanupRequest]) -> Response:
    project = _project(call.identity, call.body)
    # What the sender may not see is not there, so nothing of it has ended.
    job_ids: list[str] = []
    more = False
    if call.identity.sees(project):
        job_ids, more = await _clean_up(call.services, call.body, project)
    return Document({"deleted": 0 if call.body.dry_run else len(job_ids), "job_ids": job_ids, "more": more})


async def get_cleanup(call: Call[NoQuery, None]) -> Response:
    return Document({"pending": await call.services.storage.retention.count_removals()})


async def _find_counted(call: Call[NoQuery, None]) -> Job:
    """Return the job, and count the change in its project. Raises JobNotFound, RateLimited."""
    job = await find_job(call)
    call.services.rates.count_project(call.request, call.identity, job.project, RateClass.WRITE)
    return job


async def _delete_or_cancel(services: Services, job: Job) -> Job | None:
    """Delete a completed job and return None; request the cancellation of another one and return it.

    Raises JobNotFound if another request was quicker.
    """
    try:
        return await services.storage.jobs.request_cancel(job.id, utc_now())
    except JobAlreadyCompleted:
        if not await services.storage.retention.delete([job.id]):
            await services.storage.jobs.get(job.id)
        return None


def _project(sender: Identity, request: CleanupRequest) -> str | None:
    """Return whose jobs are meant. Raises InvalidRequest for a sender with several projects that names none."""
    if sender.projects is None or request.project is not None:
        return request.project
    if len(sender.projects) == 1:
        return next(iter(sender.projects))
    message = f"the key holds for the projects {', '.join(sorted(sender.projects))}: name one of them"
    raise InvalidRequest(f"the body is not valid: project: {message}", FieldError("project", message))


async def _clean_up(services: Services, request: CleanupRequest, project: str | None) -> tuple[list[str], bool]:
    """Delete what is asked for, of one project or of all. Return the ids, and whether others are left to delete.

    With `dry_run`, return what would be deleted. Raises InvalidRequest, Unavailable.
    """
    where = _condition(request, project, utc_now())
    found = await services.storage.retention.ended(where, limit=MOST_JOBS + 1)
    wanted, more = found[:MOST_JOBS], len(found) > MOST_JOBS
    if request.dry_run:
        return wanted, more
    clock = asyncio.get_running_loop().time
    deadline = clock() + MOST_SECONDS
    deleted: list[str] = []
    for start in range(0, len(wanted), _BATCH):
        if clock() > deadline or services.shutdown.started:
            return deleted, True
        deleted += await services.storage.retention.delete(wanted[start : start + _BATCH])
    return deleted, more


def _condition(request: CleanupRequest, project: str | None, now: datetime) -> Ended:
    if request.older_than is None and request.keep is None:
        message = "say which jobs to delete: those that ended longer ago than this, or all but the newest (keep)"
        raise InvalidRequest(f"the body is not valid: older_than: {message}", FieldError("older_than", message))
    return Ended(
        project=project,
        conclusions=frozenset(request.conclusion),
        before=None if request.older_than is None else now - timedelta(seconds=request.older_than),
        keep=request.keep or 0,
    )


ENDPOINTS: Final = (
    Endpoint(
        method="DELETE",
        path="/jobs/{job_id}",
        handler=delete_job,
        summary="Delete a completed job, or cancel another one",
        description=(
            "204 if the job had completed: it is deleted with its log and upload, and is not found from then "
            "on. Otherwise the job is cancelled instead: 202 the job, and the same again is 202"
        ),
        answers={
            202: accepted_answer("The job will be cancelled."),
            204: Answer("The job is deleted."),
        },
        errors=(JobNotFound,),
        scope=Scope.JOBS_WRITE,
        rate_class=RateClass.WRITE,
    ),
    Endpoint(
        method="POST",
        path="/jobs/cleanup",
        handler=clean_up_jobs,
        body=model_body(CleanupRequest, examples={"a month": {"older_than": "30d"}}),
        summary="Delete many completed jobs",
        description=(
            "deletes [completed jobs that are old, or too many](#deleting-many-jobs); "
            '`{"deleted": 12, "job_ids": ["…"], "more": false}`'
        ),
        answers={200: json_answer(CleanupView, "Which jobs were deleted, or would be.")},
        scope=Scope.JOBS_CLEANUP,
        limits=Reach.VISIBLE,
        rate_class=RateClass.WRITE,
    ),
    Endpoint(
        method="GET",
        path="/jobs/cleanup",
        handler=get_cleanup,
        summary="Count deleted jobs that still have files",
        description=(
            '`{"pending": 3}`: the number of deleted jobs whose files and containers the controller has still to remove'
        ),
        answers={200: json_answer(PendingCleanupView, "How many there are.")},
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="POST",
        path="/jobs/{job_id}/cancel",
        handler=cancel_job,
        summary="Cancel a job",
        description=("202; the same again is 202; 409 if the job has completed"),
        answers={202: accepted_answer("The job will be cancelled.")},
        errors=(JobNotFound, JobAlreadyCompleted),
        scope=Scope.JOBS_WRITE,
        rate_class=RateClass.WRITE,
    ),
)
