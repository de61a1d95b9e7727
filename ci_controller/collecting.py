"""What an attempt has left in its run directory, for its row."""

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Any

from ci_common.jobs import Job
from ci_common.layout import DataDirectory, open_regular
from ci_common.logs import LogTimes
from ci_common.spec import ExecutionPlan
from ci_common.steps import read_steps
from ci_common.times import Clock

log = logging.getLogger(__name__)

_HASH_CHUNK = 1024 * 1024
_SHORT_LOG = 64 * 1024
"""Bytes that take less time to hash than a thread takes to begin."""


async def collect_files(job: Job, data: DataDirectory, clock: Clock) -> dict[str, Any]:
    """Return the changes to the row that say what is in the job's run directory."""
    run = data.run(job.id, job.attempt)
    if run.log_size() <= _SHORT_LOG:
        size, digest = _hash_log(run.log)
    else:
        size, digest = await asyncio.to_thread(_hash_log, run.log)
    try:
        if size > LogTimes(run.times).last_length():
            LogTimes(run.times).append(clock(), size)
    except OSError as exc:  # As on a full disk, which must not keep a job from its end.
        log.warning("it is not noted when the end of %s was written: %s", run.log, exc)
    names = tuple(step.name for step in ExecutionPlan.model_validate(job.plan).steps)
    return {"steps": read_steps(run, names, job.start_time), "log_bytes": size, "log_sha256": digest}


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
