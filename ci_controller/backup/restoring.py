"""Restores a backup into a place where no installation is.

Everything is copied and checked under other names first. The database gets its name last: without it there is nothing.
"""

import fcntl
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
from ci_controller.backup.files import copy_content, copy_job
from ci_controller.backup.manifest import Backup, BackupFault, Manifest
from ci_controller.backup.taking import Say, jobs_of, opened
from ci_controller.job_writer import JobWriter
from ci_controller.ownership import Abandoned, abandon_unfinished, another_id
from ci_controller.run_directory.workspace import fill_workspace
from ci_persistence.repository import Installation, JobReader
from ci_persistence.sqlite.copies import fold
from ci_persistence.storage import Storage

log = logging.getLogger(__name__)

_LEASE_SECONDS = 600.0
_DRAFT = "restoring"
_SIDE_FILES = ("", "-wal", "-shm", "-journal")
_BALLAST = "-ballast"
"""Room that is kept back: no obstacle, and nothing that a draft leaves."""
_NO_OBSTACLES = frozenset({_DRAFT, "lost+found"})


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done."""

    manifest: Manifest
    installation_id: str
    jobs: int
    abandoned: Abandoned


async def restore_backup(
    settings: Settings, source: Path, say: Say, *, keep_queue: bool, clock: Clock = utc_now
) -> Restored:
    """Make an installation of the backup at `source`, in the places that `settings` name. Raises BackupFault, OSError.

    It is one of its own, with an id that no container carries. Jobs that had not completed are ended, for nobody knows
    what became of them since; with `keep_queue` those that waited in the queue go on waiting.
    """
    backup = Backup(source)
    manifest = backup.read()
    data = DataDirectory(settings.data_path)
    _check_vacant(settings.db_path, data)
    with _draft(data, settings.db_path) as draft:
        await in_thread(_copy_database, backup, manifest, draft.database)
        try:
            async with opened(draft.database) as repository:
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
            f"{here[0]} is there already, and a backup is restored only where no installation is: stop its server and "
            f"move it away (mv {database}* {data.path} ELSEWHERE), or name another place with CI_DB_PATH and "
            "CI_DATA_DIR"
        )


@contextmanager
def _draft(data: DataDirectory, database: Path) -> Iterator[_Draft]:
    """Yield the names under which all is made; what is left there at the end, or was left before, is removed."""
    draft = _Draft(database.with_name(f"{database.name}.{_DRAFT}"), DataDirectory(data.path / _DRAFT))
    database.parent.mkdir(parents=True, exist_ok=True)
    data.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(lock)
        raise BackupFault(f"another restore into {data.path} is under way") from exc
    try:
        _remove(draft)
        draft.data.jobs.mkdir(mode=0o700, parents=True)
        yield draft
    finally:
        _remove(draft)
        os.close(lock)


def _remove(draft: _Draft) -> None:
    for suffix in (*_SIDE_FILES, _BALLAST):
        draft.database.with_name(draft.database.name + suffix).unlink(missing_ok=True)
    if draft.data.path.exists():
        shutil.rmtree(draft.data.path)


def _copy_database(backup: Backup, manifest: Manifest, target: Path) -> None:
    with backup.database.open("rb") as file:
        _, digest = copy_content(file.fileno(), target, os.fstat(file.fileno()).st_size)
    if digest != manifest.database_sha256:
        raise BackupFault(f"{backup.database} is not the file that the backup was made with: its SHA-256 is another")


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
    assert lease is not None, "nobody leads in a copy"
    abandoned = await abandon_unfinished(JobWriter(repository, lease, clock), draft.data, keep_queued=keep_queue)
    installation = Installation(another_id(), place_of(data))
    await repository.bind(lease, installation)
    await repository.release(lease)
    return abandoned, installation


async def _unpack(job: Job, data: DataDirectory, limits: UnpackLimits) -> None:
    """Unpack a waiting job's upload, as its submission did; where that cannot be done, the job ends by saying so."""
    if job.has_upload:
        try:
            await fill_workspace(data.run(job.id, job.attempt), data.upload(job.id), limits)
        except StartFault as exc:
            log.warning("job %s will not run: %s", job.id, exc)


def _put_in_place(draft: _Draft, data: DataDirectory, database: Path) -> None:
    draft.data.jobs.rename(data.jobs)
    data.create()
    try:
        os.link(draft.database, database)  # Unlike a renaming, it replaces nothing.
    except FileExistsError as exc:
        raise BackupFault(
            f"a server has made {database} meanwhile; stop it, move {database} and {data.path} away, and restore again"
        ) from exc
    except OSError:
        draft.database.rename(database)  # A file system without hard links.
