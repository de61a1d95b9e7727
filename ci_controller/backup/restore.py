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
from ci_common.errors import StartFault, Unavailable
from ci_common.jobs import Job
from ci_common.owner_file import place_of
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_common.system.tasks import in_thread
from ci_common.times import Clock, utc_now
from ci_controller.backup.files import copy_content, copy_job, locked
from ci_controller.backup.manifest import Backup, BackupFault, Manifest
from ci_controller.backup.take import Say, jobs_of
from ci_controller.job_writer import JobWriter
from ci_controller.ownership import Abandoned, abandon_unfinished, another_id
from ci_controller.run_directory.workspace import fill_workspace
from ci_persistence.repository import Installation, JobReader
from ci_persistence.sqlite.copies import fold
from ci_persistence.sqlite.repository import open_repository
from ci_persistence.storage import Storage

log = logging.getLogger(__name__)

_LEASE_SECONDS = 600.0
_DRAFT = "restoring"
_SIDE_FILES = ("", "-wal", "-shm", "-journal")
_BALLAST = "-ballast"
"""The suffix of the file that reserves disk space beside a database."""
_NO_OBSTACLES = frozenset({_DRAFT, "lost+found"})


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    manifest: Manifest
    installation_id: str
    jobs: int
    abandoned: Abandoned


async def restore_backup(
    settings: Settings, source: Path, say: Say, *, keep_queue: bool, clock: Clock = utc_now
) -> Restored:
    """Make an installation from the backup at `source`, in the places that `settings` name.

    It has an id of its own, which no container carries. Unfinished jobs are ended, since it is not known what became of
    them; with `keep_queue` those that were queued stay in the queue. Raises BackupFault, OSError.
    """
    backup = Backup(source)
    manifest = backup.read()
    data = DataDirectory(settings.data_path)
    _check_vacant(settings.db_path, data)
    with _draft(data, settings.db_path) as draft:
        await in_thread(_copy_database, backup, manifest, draft.database)
        try:
            async with open_repository(draft.database) as repository:
                jobs = await _copy_jobs(backup, manifest, draft.data, repository, say)
                say("ending what had not completed")
                abandoned, installation = await _end_unfinished(repository, draft, data, clock, keep_queue=keep_queue)
                if keep_queue:
                    for job in await repository.queued():
                        await _unpack(job, draft.data, UnpackLimits.of(settings))
        except Unavailable as exc:
            raise BackupFault(f"the backup {source} cannot be restored: {exc}") from exc
        await in_thread(fold, draft.database)
        say("waiting for the disk")
        await in_thread(os.sync)
        _put_in_place(draft, data, settings.db_path)
        await in_thread(os.sync)
    return Restored(manifest, installation.id, jobs, abandoned)


@dataclass(frozen=True, slots=True)
class _Draft:
    database: Path
    data: DataDirectory


def _check_vacant(database: Path, data: DataDirectory) -> None:
    here = [path for suffix in _SIDE_FILES if os.path.lexists(path := database.with_name(database.name + suffix))]
    if data.path.is_dir():
        here += [data.path / name for name in os.listdir(data.path) if name not in _NO_OBSTACLES]
    elif os.path.lexists(data.path):
        here.append(data.path)
    if here:
        raise BackupFault(
            f"{here[0]} exists already, and a backup is restored only where there is no installation: stop its server "
            f"and move it away (mv {database}* {data.path} ELSEWHERE), or name another place with CI_DB_PATH and "
            "CI_DATA_DIR"
        )


@contextmanager
def _draft(data: DataDirectory, database: Path) -> Iterator[_Draft]:
    """Yield the temporary names, after removing what an interrupted restore has left; remove the files at the end."""
    draft = _Draft(database.with_name(f"{database.name}.{_DRAFT}"), DataDirectory(data.path / _DRAFT))
    database.parent.mkdir(parents=True, exist_ok=True)
    data.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(data.path, f"another restore into {data.path} is running"):
        _remove(draft)
        try:
            draft.data.jobs.mkdir(mode=0o700, parents=True)
            yield draft
        finally:
            _remove(draft)


def _remove(draft: _Draft) -> None:
    for suffix in (*_SIDE_FILES, _BALLAST):
        draft.database.with_name(draft.database.name + suffix).unlink(missing_ok=True)
    if draft.data.path.exists():
        shutil.rmtree(draft.data.path)


def _copy_database(backup: Backup, manifest: Manifest, target: Path) -> None:
    with backup.database.open("rb") as file:
        _, digest = copy_content(file.fileno(), target, os.fstat(file.fileno()).st_size)
    if digest != manifest.database_sha256:
        raise BackupFault(f"{backup.database} has changed since the backup was taken: its SHA-256 differs")


async def _copy_jobs(backup: Backup, manifest: Manifest, target: DataDirectory, repository: JobReader, say: Say) -> int:
    known, jobs, size = frozenset(manifest.damaged), 0, 0
    async for job in jobs_of(repository):
        copied = await in_thread(copy_job, job, backup.data, target)
        if copied.problems and job.id not in known:
            raise BackupFault(f"the backup {backup.path} is damaged: job {job.id}: {copied.problems[0]}")
        jobs, size = jobs + 1, size + copied.bytes
        say(f"{jobs} of {manifest.jobs} jobs, {size / 1024**2:.1f} MiB")
    return jobs


async def _end_unfinished(
    repository: Storage, draft: _Draft, data: DataDirectory, clock: Clock, *, keep_queue: bool
) -> tuple[Abandoned, Installation]:
    lease = await repository.acquire(this_process(), _LEASE_SECONDS)
    assert lease is not None, "no controller leads in a copy"
    abandoned = await abandon_unfinished(JobWriter(repository, lease, clock), draft.data, keep_queued=keep_queue)
    installation = Installation(another_id(), place_of(data))
    await repository.bind(lease, installation)
    await repository.release(lease)
    return abandoned, installation


async def _unpack(job: Job, data: DataDirectory, limits: UnpackLimits) -> None:
    """Unpack the upload of a queued job. If that fails, the job ends with the reason when it is to start."""
    if job.has_upload:
        try:
            await fill_workspace(data.run(job.id, job.attempt), data.upload(job.id), limits)
        except StartFault as exc:
            log.warning("job %s will not run: %s", job.id, exc)


def _put_in_place(draft: _Draft, data: DataDirectory, database: Path) -> None:
    draft.data.jobs.rename(data.jobs)
    data.create()
    try:
        os.link(draft.database, database)  # Unlike a rename, this replaces nothing.
    except FileExistsError as exc:
        raise BackupFault(
            f"a server has just created {database}; stop it, move {database} and {data.path} away, and restore again"
        ) from exc
    except OSError:
        draft.database.rename(database)  # A file system without hard links.
