"""Adopts a database that comes from elsewhere: binds it to another data directory.

The containers of an installation carry its id. A copy of a database has the same id, and does not know what became of
the jobs in it since. So one that is adopted gets an id of its own, under which it sees no container of the original,
and its unfinished jobs are ended instead of run.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import CiError
from ci_common.job_types import is_computed
from ci_common.jobs import Conclusion, Job, Reason, ReasonCode, State
from ci_common.owner_file import Mismatch, WrongDataDirectory, mismatch, place_of, write_owner
from ci_common.run_directory.layout import DataDirectory
from ci_common.secrets.ring import KeyRing
from ci_common.secrets.sealing import MaskKeeper
from ci_common.settings import Settings
from ci_common.sharing.audit import command_entry
from ci_common.system.processes import this_process
from ci_common.times import uptime, utc_now
from ci_controller.execution.files import collect_files, note_end_of_log
from ci_controller.execution.protocol import Collected
from ci_controller.job_writer import JobWriter
from ci_controller.leadership import LeaseWatch
from ci_controller.policy import Observation, Verdict, WorkloadPhase, judge
from ci_controller.runtime.process.record import forget_copied_records
from ci_controller.supervision.completion import write_end
from ci_persistence.audited import Noted
from ci_persistence.storage import Storage
from ci_persistence.stores.installations import Installation
from ci_persistence.stores.leases import Lease

_LEASE_SECONDS = 600.0
"""How long the lease lasts that an adoption takes; it is released at the end."""
_RETRY_SECONDS = 0.05
_AT_ONCE = 64


class AdoptionRefused(CiError):
    """The database cannot be adopted. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What became of the unfinished jobs of a copied database."""

    ended: int
    """How many of them are completed now."""
    queued: int
    """How many were left in the queue."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting a database means."""

    database: DatabaseAddress
    data: DataDirectory
    installation: Installation
    """The installation as it is before."""
    mismatch: Mismatch | None
    """Why the directory is not the database's; None where it is, and nothing needs to be adopted."""
    unfinished: int
    keeps_jobs: bool
    """Whether the installation was moved, and keeps its id and its jobs."""
    keeper: MaskKeeper | None = None
    """What has the secrets that are to be masked in the logs of its jobs."""


def another_id() -> str:
    """Return an id that no installation has had before."""
    return uuid.uuid4().hex


async def plan_adoption(settings: Settings, storage: Storage, *, as_copy: bool) -> Adoption:
    """Return what it means to adopt the database for the data directory that `settings` name. Changes nothing.

    Raises AdoptionRefused where its content was moved to another database, or the data directory is on another host.
    """
    if not settings.has_files:
        raise AdoptionRefused(f"CI_FILES={settings.files}: adopt the database on the host that has the data directory")
    data, installation = DataDirectory(settings.data_path), await storage.installations.get()
    try:
        found = mismatch(data, installation.bound(settings.database))
    except WrongDataDirectory as exc:
        is_here = installation.data_path == place_of(data)
        found = Mismatch(str(exc), "", moved_from=place_of(data) if is_here else "")
    if found is not None and found.is_final:
        raise AdoptionRefused(f"{found.problem}; {found.repair}")
    active, queued = await storage.queue.unfinished()
    is_moved = found is not None and bool(found.moved_from) and not as_copy
    keeper = MaskKeeper(KeyRing(settings.keyring_path))
    return Adoption(settings.database, data, installation, found, len(active) + len(queued), is_moved, keeper)


async def adopt(adoption: Adoption, storage: Storage, say: Callable[[str], None]) -> Abandoned:
    """Bind the database to its new data directory, and end its unfinished jobs unless they are kept.

    Raises AdoptionRefused where a controller leads, Unavailable.
    """
    data = adoption.data
    lease = await lease_of_none(storage, say)
    try:
        data.create()
        if adoption.keeps_jobs:
            abandoned, installation_id = Abandoned(0, adoption.unfinished), adoption.installation.id
        else:
            forget_copied_records(data)
            abandoned = await abandon_unfinished(JobWriter(storage, lease, utc_now), data, keeper=adoption.keeper)
            installation_id = another_id()
        # After a crash in between, the next `ci adopt` goes on. No container has the new id before it is bound.
        audited = storage.audited(Noted(command_entry("adopt_database", f"ci adopt, for {place_of(data)}")))
        await audited.installations.bind(lease, Installation(installation_id, place_of(data)))
        bound = (await storage.installations.get()).bound(adoption.database)
        await asyncio.to_thread(write_owner, data, bound, replace=True)
    finally:
        await storage.leases.release(lease)
    return abandoned


async def lease_of_none(storage: Storage, say: Callable[[str], None]) -> Lease:
    """Return the lease of a database with which no controller leads; waits for one that may be a dead controller's.

    Raises AdoptionRefused where a controller leads.
    """
    watch, first = LeaseWatch(uptime), await storage.leases.state()
    while True:
        held = await storage.leases.state()
        lease = await storage.leases.acquire(this_process(), _LEASE_SECONDS, watch.lapsed(held))
        if lease is not None:
            return lease
        if held is not None and first is not None:
            if (held.fence, held.renewal) != (first.fence, first.renewal):
                raise AdoptionRefused("a controller leads with this database: stop it, and run this command again")
            say(f"waiting for up to {held.seconds:g} s to see whether a controller leads with this database")
        first = held
        await asyncio.sleep(_RETRY_SECONDS)


async def abandon_unfinished(
    writer: JobWriter, data: DataDirectory, *, keep_queued: bool = False, keeper: MaskKeeper | None = None
) -> Abandoned:
    """End the unfinished jobs of a copied database; with `keep_queued` only those that had left the queue.

    A job whose run directory holds its result gets that result. `keeper` has the secrets that are to be masked in logs,
    which those of a backup are already. May be repeated.
    """
    queue = writer.storage.queue
    queued = await queue.queued()
    jobs = await queue.active() + ([] if keep_queued else queued)
    for start in range(0, len(jobs), _AT_ONCE):
        await asyncio.gather(*(_end(job, writer, data, keeper) for job in jobs[start : start + _AT_ONCE]))
    return Abandoned(ended=len(jobs), queued=len(queued) if keep_queued else 0)


async def _end(job: Job, writer: JobWriter, data: DataDirectory, keeper: MaskKeeper | None) -> None:
    if is_computed(job.type):
        left = Collected(0, hashlib.sha256().hexdigest())
        await write_end(job, _unknown(job), left, writer)
        return
    left, _ = await collect_files(job, data, keeper)
    ended = data.run(job.id, job.attempt).read_exit()
    verdict = (
        _unknown(job) if ended is None else judge(job, Observation(WorkloadPhase.ABSENT, exit=ended, started=True))
    )
    note_end_of_log(await write_end(job, verdict, left, writer), data)


def _unknown(job: Job) -> Verdict:
    was = "waiting" if job.state is State.QUEUED else "running"
    message = (
        f"the database was copied or restored while this job was {was}; its outcome is unknown, so it was not run again"
    )
    return Verdict(Conclusion.ERRORED, Reason(ReasonCode.RESTORED, message))
