"""Jobs as the API shows them, with what only the run directory of a running job knows."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.errors import AttemptNotFound, JobNotFound
from ci_common.jobs import ACTIVE_STATES, Job, State, is_job_id
from ci_common.parsing.text import shown
from ci_common.run_directory.closing import shown_bytes
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.masked_log import ShownLog
from ci_common.run_directory.output import character_start, live_steps, milestones_in_files
from ci_common.run_directory.untrusted_files import open_regular
from ci_common.times import Timeline
from ci_common.wire.answers import JobView
from ci_common.wire.stream import Cursor
from ci_common.wire.writing import job_on_wire
from ci_server.endpoints import Answer, Call, json_answer
from ci_server.http.refusals import ScopeMissing, hidden
from ci_server.http.responses import large_document
from ci_server.jobs.idempotency import REPLAYED_HEADER, Submitted
from ci_server.services import Services
from ci_server.streaming.attempt_files import look_on
from ci_server.streaming.stored_logs import StoredLog
from ci_server.streaming.streams import JobStream

EXCERPT_BYTES = 64 * 1024
JOB_HEADERS = ("Location",)
REPLAYED = "The job that the same submission made before, which had the same `Idempotency-Key`."

logger = logging.getLogger(__name__)


async def find_job(call: Call[Any, Any]) -> Job:
    """Return the job that the request's path names. Raises JobNotFound, also for one that its sender may not see."""
    job_id = call.request.path_params["job_id"]
    if not is_job_id(job_id):
        raise JobNotFound(f"there is no job {shown(job_id)}")
    job = await call.services.storage.jobs.get(job_id)
    if not call.identity.sees(job.project):
        if Scope.JOBS_READ in call.identity.scopes_in(job.project):
            raise ScopeMissing(
                f"{call.identity.name} may see job {job_id}, and lacks the scope for this in its project"
            )
        raise hidden(JobNotFound(f"there is no job {job_id}"))
    call.services.concern(project=job.project)
    return job


async def stream_of(call: Call[Any, Any], job: Job, start: Cursor, *, announce: bool = False) -> JobStream:
    """Return the job's stream for as long as the key of the request is accepted. Raises QuotaExceeded, Unavailable."""
    await call.services.take_stream(call.request, job.project, call.identity)
    while_accepted = call.services.authentication.while_accepted(call.request, call.identity)
    return JobStream(call.services.tails, job, start, announce=announce, while_accepted=while_accepted)


def attempt_of(job: Job, number: int) -> Job:
    """Return the job as it was when that attempt ended; unchanged if it is the present one. Raises AttemptNotFound."""
    if number > job.attempt:
        known = "1" if job.attempt == 1 else f"1 to {job.attempt}"
        raise AttemptNotFound(f"job {job.id} has no attempt {number}, only {known}")
    return job.as_of(number)


def accepted_answer(description: str) -> Answer:
    """Return the declaration of the answer that `accepted` makes."""
    return json_answer(JobView, description, headers=JOB_HEADERS, links=True)


def submission_answers(description: str, model: Any = JobView) -> dict[int, Answer]:
    """Return the declarations of the answers to a submission that is made once."""
    return {
        200: json_answer(model, REPLAYED, headers=(*JOB_HEADERS, REPLAYED_HEADER), links=True),
        202: json_answer(model, description, headers=JOB_HEADERS, links=True),
    }


async def accepted(services: Services, job: Job) -> Response:
    """Return 202 with the job and its `Location`."""
    return await large_document(job_document(services, job), 202, {"Location": f"/jobs/{job.id}"})


async def submitted_job(services: Services, submitted: Submitted) -> Response:
    """Return the job of a submission and its `Location`: 202, or 200 for a job that was there."""
    return await large_document(job_document(services, submitted.job), submitted.status, submitted.headers)


def job_document(services: Services, job: Job) -> dict[str, Any]:
    """Return the job in its JSON form, which `JobView` describes."""
    if job.state not in ACTIVE_STATES or not services.settings.has_files:
        return job_on_wire(job)
    run = services.data.run_of(job)
    size = shown_bytes(run, run.log_size())
    return job_on_wire(job, log_bytes=size, steps=live_steps(job, run), trace=_live_milestones(job, run))


def job_documents(services: Services, jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
    """Yield the jobs in their JSON form. One that cannot be shown is left out, so that it does not hide the others."""
    for job in jobs:
        try:
            document = job_document(services, job)
        except Exception:
            logger.exception("job %s cannot be shown, and is left out of the list", job.id)
        else:
            yield document


def _live_milestones(job: Job, run: RunDirectory) -> dict[str, int]:
    """Return the milestones of the present attempt. The controller stores the later ones only after its end."""
    timeline = Timeline(job.trace, after=max(job.arrival.values(), default=0))
    timeline.fill_in(milestones_in_files(run))
    return timeline.times()


async def stored_log_of(services: Services, job: Job) -> StoredLog | None:
    """Return the log of the attempt that `job` is at where only the artifact store has it; the caller closes it.

    None where it is to be read here, which is checked. Raises FilesElsewhere, StoreUnavailable, LogLost.
    """
    stored = None
    if job.state is State.COMPLETED and services.data.run_of(job).log_size() < (job.log_bytes or 0):
        stored = await services.logs.find(job)
    is_empty = job.state is State.COMPLETED and not job.log_bytes
    if stored is None and not (is_empty and services.settings.artifacts_url):
        services.require_files()
    return stored


def open_or_empty(path: Path) -> int:
    """Return the open file, or an empty one where there is none. Raises OSError."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


async def open_log(services: Services, job: Job) -> tuple[int, int]:
    """Return the open log of the attempt that `job` is at, which is to be read here, and its present length.

    Raises JobNotFound where it is too short since the job has been deleted.
    """
    descriptor = open_or_empty(services.data.run_of(job).log)
    try:
        size = os.fstat(descriptor).st_size
        if job.state is State.COMPLETED and size < (job.log_bytes or 0):
            await services.storage.jobs.get(job.id)  # The log goes when the job is deleted: then it is not found.
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, size


async def shown_log(services: Services, job: Job, run: RunDirectory, descriptor: int) -> ShownLog:
    """Return what is shown of the open log of an attempt that has not ended. Closes the log where it fails."""
    try:
        await look_on(partial(services.live_logs.behind, job, run, descriptor))
        return services.live_logs.shown(job, run, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


async def log_excerpt(services: Services, job: Job) -> str:
    """Return the end of the job's log as text. Raises FilesElsewhere, StoreUnavailable, LogLost."""
    if (stored := await stored_log_of(services, job)) is not None:
        with closing(stored):
            start = await stored.character_start(max(0, stored.size - EXCERPT_BYTES))
            return (await stored.read(start, stored.size)).decode(errors="replace")
    run = services.data.run_of(job)
    try:
        descriptor = open_regular(run.log)
    except FileNotFoundError:
        return ""
    try:
        if job.log_bytes is not None:
            start = character_start(descriptor, max(0, job.log_bytes - EXCERPT_BYTES))
            return os.pread(descriptor, job.log_bytes - start, start).decode(errors="replace")
        await look_on(partial(services.live_logs.behind, job, run, descriptor))
        log = services.live_logs.shown(job, run, descriptor)
        start = character_start(descriptor, max(0, log.size - EXCERPT_BYTES))
        return log.read(start, log.size).decode(errors="replace")
    finally:
        os.close(descriptor)
