"""Jobs as the API shows them, with what only the run directory of a running one can tell."""

import logging
import os
from collections.abc import Iterable, Iterator
from typing import Any

from ci_common.errors import AttemptNotFound
from ci_common.jobs import ACTIVE_STATES, Job
from ci_common.run_directory.layout import RunDirectory, open_regular
from ci_common.run_directory.output import character_start, live_steps
from ci_common.timeline import Timeline, milestones_in_files
from ci_common.wire import job_on_wire
from ci_server.services import Services

logger = logging.getLogger(__name__)

EXCERPT_BYTES = 64 * 1024


def attempt_of(job: Job, number: int) -> Job:
    """Return the job as that attempt of it ended, or as it is where that is the present one. Raises AttemptNotFound."""
    if number > job.attempt:
        known = "1" if job.attempt == 1 else f"1 to {job.attempt}"
        raise AttemptNotFound(f"job {job.id} has no attempt {number}, only {known}")
    return job.as_of(number)


def job_document(services: Services, job: Job) -> dict[str, Any]:
    """Return the job in its JSON form."""
    if job.state not in ACTIVE_STATES:
        return job_on_wire(job)
    run = services.run_of(job)
    return job_on_wire(job, log_bytes=run.log_size(), steps=live_steps(job, run), trace=_live_trace(job, run))


def job_documents(services: Services, jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
    """Yield the jobs in their JSON form, but for those that cannot be shown, which would hide the others."""
    for job in jobs:
        try:
            document = job_document(services, job)
        except Exception:
            logger.exception("job %s cannot be shown, and is left out of the list", job.id)
        else:
            yield document


def _live_trace(job: Job, run: RunDirectory) -> dict[str, int]:
    """Return the stations of the present attempt; its driver writes the later ones only once it has ended."""
    trace = Timeline(job.trace, after=max(job.arrival.values(), default=0))
    trace.fill_in(milestones_in_files(run))
    return trace.times()


def log_excerpt(services: Services, job: Job) -> str:
    """Return the end of the job's log as text."""
    try:
        descriptor = open_regular(services.run_of(job).log)
    except FileNotFoundError:
        return ""
    try:
        end = os.fstat(descriptor).st_size if job.log_bytes is None else job.log_bytes
        start = character_start(descriptor, max(0, end - EXCERPT_BYTES))
        return os.pread(descriptor, end - start, start).decode(errors="replace")
    finally:
        os.close(descriptor)
