"""Restores a backup to a place where there is no installation.

Everything is copied and checked under temporary names. The database gets its name last, so that an interrupted restore
leaves no installation.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import Unavailable
from ci_common.jobs import Job
from ci_common.owner_file import place_of
from ci_common.parsing.text import shown_size
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import StartFault
from ci_common.settings import Settings
from ci_common.sharing.audit import command_entry
from ci_common.system.processes import this_process
from ci_common.system.tasks import in_thread
from ci_common.times import Clock, utc_now
from ci_controller.backup.files import Packs, copy_content, copy_job, locked, sha256_of
from ci_controller.backup.manifest import Backup, BackupFault, Manifest
from ci_controller.backup.take import check_files
from ci_controller.job_writer import JobWriter
from ci_controller.ownership import Abandoned, abandon_unfinished, another_id
from ci_controller.run_directory.workspace import fill_workspace
from ci_persistence.copies import InTheWay, Restoring, Say, jobs_of, kind_of, restoring
from ci_persistence.storage import Storage
from ci_persistence.stores.installations import Installation
from ci_persistence.stores.jobs import JobStore
from ci_persistence.stores.leases import Lease

log = logging.getLogger(__name__)

_LEASE_SECONDS = 600.0
_DRAFT = "restoring"
_NO_OBSTACLES = frozenset({_DRAFT, "lost+found"})


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    manifest: Manifest
    installation_id: str
    jobs: int
    abandoned: Abandoned
    revoked_keys: int
    """How many API keys were valid when the backup was taken, and are not any more."""


async def restore_backup(
    settings: Settings,
    source: Path,
    say: Say,
    *,
    keep_queue: bool,
    keep_keys: bool = False,
    clock: Clock = utc_now,
) -> Restored:
    """Make an installation from the backup at `source`, in the places that `settings` name.

    It has an id of its own, which no container carries. Unfinished jobs are ended, since it is not known what became of
    them; with `keep_queue` those that were queued stay in the queue. API keys are revoked, since it is not known which
    of them were; with `keep_keys` they stay valid. Raises BackupFault, OSError.
    """
    check_files(settings)
    backup = Backup(source)
    manifest = backup.read()
    _check_kind(settings, manifest)
    data, database = DataDirectory(settings.data_path), restoring(settings.database)
    await _check_vacant(settings, database, data)
    with _draft(data) as draft:
        try:
            async with database.prepared() as copy:
                file = await in_thread(_checked_database, backup, manifest, copy)
                async with database.loaded(file, manifest.left_out) as storage:
                    jobs = await _copy_jobs(backup, manifest, draft, storage.jobs, say)
                    say("ending what had not completed")
                    abandoned = await _end_unfinished(storage, draft, clock, keep_queue=keep_queue)
                    if keep_queue:
                        for job in await storage.queue.queued():
                            await _unpack(job, draft, UnpackLimits.of(settings))
                    revoked_keys = 0 if keep_keys else await storage.keys.revoke_all(clock())
                    await storage.audit.add([command_entry("restore_backup", f"ci restore {source}")])
                    say("waiting for the disk")
                    await in_thread(os.sync)
                    installation = await _put_in_place(draft, data, storage)
                    await in_thread(_restore_key_ring, backup, settings.keyring_path)
                await in_thread(os.sync)
                await database.put_in_place()
        except InTheWay as exc:
            raise _in_the_way(settings, str(exc)) from exc
        except Unavailable as exc:
            raise BackupFault(f"the backup {source} cannot be restored: {exc}") from exc
        await in_thread(os.sync)
    return Restored(manifest, installation.id, jobs, abandoned, revoked_keys)


def _check_kind(settings: Settings, manifest: Manifest) -> None:
    kind, variable = kind_of(settings.database), settings.database.variable
    if manifest.database != kind:
        raise BackupFault(
            f"it is the backup of a {manifest.database} database, and {variable} names a {kind} one: restore it into "
            "one of its own kind, and move that with `ci migrate-database`"
        )


async def _check_vacant(settings: Settings, database: Restoring, data: DataDirectory) -> None:
    try:
        await database.check_vacant()
    except InTheWay as exc:
        raise _in_the_way(settings, str(exc)) from exc
    here = []
    if data.path.is_dir():
        here = [data.path / name for name in os.listdir(data.path) if name not in _NO_OBSTACLES]
    elif os.path.lexists(data.path):
        here.append(data.path)
    if here:
        raise _in_the_way(settings, f"{here[0]} exists already")


def _in_the_way(settings: Settings, found: str) -> BackupFault:
    path, variable = settings.database.path, settings.database.variable
    files = f"{path}* {settings.data_path}" if path is not None else str(settings.data_path)
    return BackupFault(
        f"{found}, and a backup is restored only where there is no installation: stop its server and move it away "
        f"(mv {files} ELSEWHERE), or name another place with {variable} and CI_DATA_DIR"
    )


@contextmanager
def _draft(data: DataDirectory) -> Iterator[DataDirectory]:
    """Yield the temporary place, after removing what an interrupted restore has left; remove the files at the end."""
    draft = DataDirectory(data.path / _DRAFT)
    data.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(data.path, f"another restore into {data.path} is running"):
        _remove(draft)
        try:
            draft.jobs.mkdir(mode=0o700, parents=True)
            yield draft
        finally:
            _remove(draft)


def _remove(draft: DataDirectory) -> None:
    if draft.path.exists():
        shutil.rmtree(draft.path)


def _checked_database(backup: Backup, manifest: Manifest, target: Path | None) -> Path:
    """Return the copy of the database, at `target` where that is given. Raises BackupFault where it has changed."""
    path = backup.database(manifest.database)
    if target is None:
        digest = sha256_of(path)
    else:
        with path.open("rb") as file:
            _, digest = copy_content(file.fileno(), target, os.fstat(file.fileno()).st_size)
    if digest != manifest.database_sha256:
        raise BackupFault(f"{path} has changed since the backup was taken: its SHA-256 differs")
    return target or path


async def _copy_jobs(backup: Backup, manifest: Manifest, target: DataDirectory, store: JobStore, say: Say) -> int:
    known, jobs, size = frozenset(manifest.damaged), 0, 0
    packs = Packs()
    async for job in jobs_of(store):
        copied = await in_thread(copy_job, job, backup.data, target, packs)
        if copied.problems and job.id not in known:
            raise BackupFault(f"the backup {backup.path} is damaged: job {job.id}: {copied.problems[0]}")
        jobs, size = jobs + 1, size + copied.bytes
        say(f"{jobs} of {manifest.jobs} jobs, {shown_size(size)}")
    return jobs


async def _end_unfinished(storage: Storage, draft: DataDirectory, clock: Clock, *, keep_queue: bool) -> Abandoned:
    lease = await _lease(storage)
    abandoned = await abandon_unfinished(JobWriter(storage, lease, clock), draft, keep_queued=keep_queue)
    await storage.leases.release(lease)
    return abandoned


async def _lease(storage: Storage) -> Lease:
    lease = await storage.leases.acquire(this_process(), _LEASE_SECONDS)
    assert lease is not None, "no controller leads in a copy"
    return lease


async def _unpack(job: Job, data: DataDirectory, limits: UnpackLimits) -> None:
    """Unpack the upload of a queued job. If that fails, the job ends with the reason when it is to start."""
    if job.has_upload:
        try:
            await fill_workspace(data.run(job.id, job.attempt), data.upload(job.id), limits)
        except StartFault as exc:
            log.warning("job %s will not run: %s", job.id, exc)


def _restore_key_ring(backup: Backup, target: Path) -> None:
    """Put the key ring in its place, if the backup has it and there is none."""
    try:
        with backup.key_ring.open("rb") as file:
            copy_content(file.fileno(), target, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        pass
    except FileExistsError:
        log.warning("the key ring %s is there already, and the one of the backup is left where it is", target)


async def _put_in_place(draft: DataDirectory, data: DataDirectory, storage: Storage) -> Installation:
    """Give the files their names, and then make the database theirs."""
    draft.jobs.rename(data.jobs)
    data.create()
    lease, installation = await _lease(storage), Installation(another_id(), place_of(data))
    await storage.installations.bind(lease, installation)
    await storage.leases.release(lease)
    return installation
