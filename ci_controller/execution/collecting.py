"""What an attempt has left in its run directory, for its row."""

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ci_common.jobs import Job
from ci_common.run_directory.layout import DataDirectory, open_regular
from ci_common.run_directory.output import LogTimes, read_steps
from ci_common.spec import ExecutionPlan

log = logging.getLogger(__name__)

_HASH_CHUNK = 1024 * 1024
_SHORT_LOG = 64 * 1024
"""Bytes that take less time to hash than a thread takes to begin."""


async def collect_files(job: Job, data: DataDirectory) -> dict[str, Any]:
    """Return the changes to the row that say what is in the job's run directory."""
    run = data.run(job.id, job.attempt)
    if run.log_size() <= _SHORT_LOG:
        size, digest = _hash_log(run.log)
    else:
        size, digest = await asyncio.to_thread(_hash_log, run.log)
    return {"steps": read_steps(run, _step_names(job), job.start_time), "log_bytes": size, "log_sha256": digest}


def _step_names(job: Job) -> tuple[str, ...]:
    """Return the names of the job's steps, as far as they are known: one whose plan cannot be read ends, too."""
    try:
        return tuple(step.name for step in ExecutionPlan.model_validate(job.plan).steps)
    except ValidationError:
        return ()


def note_end_of_log(job: Job, data: DataDirectory) -> None:
    """Note when the end of the attempt's log was there, where nobody has. For one that has ended; may be repeated."""
    times, size = LogTimes(data.run(job.id, job.attempt).times), job.log_bytes or 0
    try:
        if job.end_time is not None and size > times.last_length():
            times.append(job.end_time, size)
    except OSError as exc:  # As on a full disk, which must keep nothing else from its end.
        log.warning("it is not noted when the end of the log of job %s was written: %s", job.id, exc)


def _hash_log(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return 0, digest.hexdigest()
    with open(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
