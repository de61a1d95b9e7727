"""Whose database it is: a database belongs to one data directory, and a copy of it elsewhere is another installation.

A copy does not know what became of the jobs in it since, and the containers of the original are not its own. So it gets
an id of its own, under which it sees none of them, and ends the jobs that had not completed instead of running them.
"""

import asyncio
import hashlib
import logging
import uuid
from dataclasses import dataclass
from typing import Any

from ci_common.errors import Unavailable
from ci_common.job_types import is_computed
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.processes import this_process
from ci_common.times import Clock, uptime
from ci_controller.execution.collecting import collect_files, note_end_of_log
from ci_controller.job_writer import JobWriter
from ci_controller.leadership import LeaseWatch
from ci_controller.policy.verdicts import Observed, Sight, Verdict, judge
from ci_controller.runtime.process.runtime import forget_copied_records
from ci_controller.supervision.completion import write_end
from ci_persistence.repository import Installation
from ci_persistence.storage import Storage

log = logging.getLogger(__name__)

_TERM_SECONDS = 600.0
"""How long the lease is held to do this. Nobody waits for it to run out, unless this machine goes down meanwhile."""
_RETRY_SECONDS = 0.05
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Settled:
    """How many jobs a copy had that had not completed."""

    ended: int
    """These are completed now."""
    queued: int
    """These were left in the queue."""


def place_of(data: DataDirectory) -> str:
    """Return the data directory as databases name it."""
    return str(data.path.resolve())


def another_id() -> str:
    """Return an id that no installation has had before."""
    return uuid.uuid4().hex


async def take_possession(repository: Storage, data: DataDirectory, clock: Clock, *, patience: float) -> Installation:
    """Return whose database this is, having made it this data directory's where it was not.

    A copy may hold the lease of the original's controller, which runs out there: `patience` is how many seconds to
    wait for that. Raises Unavailable where a controller goes on leading whose data directory is another one.
    """
    place = place_of(data)
    deadline = asyncio.get_running_loop().time() + patience
    watch = LeaseWatch(uptime)
    while (stored := await repository.installation()).data_path != place:
        lease = await repository.acquire(this_process(), _TERM_SECONDS, watch.lapsed(await repository.lease_state()))
        if lease is None:
            if stored.data_path is not None and asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"the database belongs to the data directory {stored.data_path}, in which a controller leads now, "
                    f"and CI_DATA_DIR names {place}: give both the same one, or this one a database of its own"
                )
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        try:
            if stored.data_path is None:
                await repository.bind(lease, Installation(stored.id, place))
            else:
                forget_copied_records(data)
                settled = await settle(JobWriter(repository, lease, clock), data)
                await repository.bind(lease, Installation(another_id(), place))
                log.warning(
                    "this database comes from %s: here, at %s, it is an installation of its own; jobs ended because "
                    "what became of them there is not known: %d",
                    stored.data_path,
                    place,
                    settled.ended,
                )
        finally:
            await repository.release(lease)
    return stored


async def settle(writer: JobWriter, data: DataDirectory, *, keep_queued: bool = False) -> Settled:
    """End the jobs of a copied database that have not completed; with `keep_queued` only those that had left the queue.

    One whose run directory holds its result gets that. May be repeated.
    """
    repository = writer.repository
    queued = await repository.queued()
    jobs = await repository.active() + ([] if keep_queued else queued)
    for start in range(0, len(jobs), _AT_ONCE):
        await asyncio.gather(*(_end(job, writer, data) for job in jobs[start : start + _AT_ONCE]))
    return Settled(ended=len(jobs), queued=len(queued) if keep_queued else 0)


async def _end(job: Job, writer: JobWriter, data: DataDirectory) -> None:
    if is_computed(job.type):
        left: dict[str, Any] = {"log_bytes": 0, "log_sha256": hashlib.sha256().hexdigest()}
        await write_end(job, _unknown(job), left, writer)
        return
    left = await collect_files(job, data)
    ended = data.run(job.id, job.attempt).read_exit()
    verdict = _unknown(job) if ended is None else judge(job, Observed(Sight.ABSENT, exit=ended, started=True))
    note_end_of_log(await write_end(job, verdict, left, writer), data)


def _unknown(job: Job) -> Verdict:
    was = "waited" if job.state is State.QUEUED else "ran"
    message = (
        f"it {was} when the copy of the database was made that is used now; what became of it since is not known, and "
        "it is not run again by itself"
    )
    return Verdict(Conclusion.ERRORED, Reason(ReasonCode.RESTORED, message))
