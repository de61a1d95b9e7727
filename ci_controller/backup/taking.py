"""Takes a backup while everything runs.

The database comes first, as it is at one moment, and then the files of the jobs in it: uploads and the logs of attempts
that have ended never change, and another log only grows. A job that is deleted in between is left out of the backup.
"""

import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.tasks import in_thread
from ci_common.times import Clock, utc_now
from ci_controller.backup.files import Copied, copy_job, sha256_of
from ci_controller.backup.manifest import FORMAT, Backup, BackupFault, Manifest
from ci_persistence.repository import JobFilter, JobReader
from ci_persistence.sqlite.copies import copy_database, delete_completed, fold, known_jobs
from ci_persistence.sqlite.repository import SQLiteJobRepository
from ci_persistence.sqlite.schema import migrations
from ci_persistence.storage import Storage

_PAGE = 100

Say = Callable[[str], None]
"""Takes one line on how far it has come."""


@dataclass(slots=True)
class _Tally:
    jobs: int = 0
    unfinished: int = 0
    files: int = 0
    bytes: int = 0
    without_upload: int = 0
    damaged: list[str] = field(default_factory=list)
    incomplete: dict[str, Copied] = field(default_factory=dict)
    """Jobs whose files are not what their rows say; perhaps because they are being deleted."""

    def count(self, job: Job, copied: Copied) -> None:
        self.jobs += 1
        self.unfinished += job.state is not State.COMPLETED
        self.files += copied.files
        self.bytes += copied.bytes
        self.without_upload += job.has_upload and not copied.has_upload
        if copied.problems:
            self.incomplete[job.id] = copied


async def take_backup(settings: Settings, target: Path, say: Say, *, clock: Clock = utc_now) -> Manifest:
    """Write a backup to the directory `target`, which must not exist, and return what is in it.

    Until it is whole it is named `target.incomplete`. Raises BackupFault, Unavailable, OSError.
    """
    source = DataDirectory(settings.data_path)
    _check_target(target, source)
    with _draft(target) as draft:
        created = clock()
        await in_thread(copy_database, settings.db_path, draft.database, _page_progress(say))
        tally = _Tally()
        async with opened(draft.database) as repository:
            installation = await repository.installation()
            async for job in jobs_of(repository):
                tally.count(job, await in_thread(copy_job, job, source, draft.data))
                say(f"{tally.jobs} jobs, {tally.bytes / 1024**2:.1f} MiB")
        await in_thread(_leave_out_deleted, settings.db_path, draft, tally)
        await in_thread(fold, draft.database)
        manifest = Manifest(
            format=FORMAT,
            created=created,
            program=program_version(),
            schema_version=len(migrations()),
            installation_id=installation.id,
            data_path=installation.data_path,
            database_sha256=await in_thread(sha256_of, draft.database),
            jobs=tally.jobs,
            unfinished=tally.unfinished,
            files=tally.files,
            bytes=tally.bytes,
            without_upload=tally.without_upload,
            damaged=tuple(tally.damaged),
        )
        draft.manifest.write_text(manifest.model_dump_json(indent=2) + "\n")
        say("waiting for the disk")
        await in_thread(os.sync)
        draft.path.rename(target)
        await in_thread(os.sync)
    return manifest


def program_version() -> str:
    """Return the version of ci-server that this is."""
    try:
        return version("ci-server")
    except PackageNotFoundError:
        return "not installed"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Storage]:
    """Yield a database that is nobody else's, brought up to date."""
    repository = SQLiteJobRepository(path)
    await repository.open()
    try:
        yield repository
    finally:
        await repository.close()


async def jobs_of(repository: JobReader) -> AsyncIterator[Job]:
    """Yield all jobs of a database that nobody writes, newest first."""
    older_than = None
    while page := await repository.list_jobs(JobFilter(), limit=_PAGE, older_than=older_than):
        for job in page:
            yield job
        older_than = page[-1].id


def _leave_out_deleted(live: Path, draft: Backup, tally: _Tally) -> None:
    """Tell jobs that were deleted while their files were copied, which are left out, from damaged ones."""
    deleted = tally.incomplete.keys() - known_jobs(live, tally.incomplete)
    delete_completed(draft.database, deleted)
    for job_id in deleted:
        shutil.rmtree(draft.data.job(job_id))
        tally.jobs -= 1
        tally.files -= tally.incomplete[job_id].files
        tally.bytes -= tally.incomplete[job_id].bytes
    tally.damaged = sorted(tally.incomplete.keys() - deleted)


def _check_target(target: Path, source: DataDirectory) -> None:
    if os.path.lexists(target):
        raise BackupFault(f"{target} is there already; name a directory that is not")
    if target.resolve().is_relative_to(source.path.resolve()):
        raise BackupFault(f"{target} is in the data directory {source.path}; name a place outside of it")
    if not target.parent.is_dir():
        raise BackupFault(f"there is no directory {target.parent} to make {target.name} in")


@contextmanager
def _draft(target: Path) -> Iterator[Backup]:
    """Yield a new directory beside `target`; at the end it is removed, unless it has been renamed.

    What an interrupted backup has left under its name goes first. Its lock tells that nobody is at work in it.
    """
    path = target.with_name(f"{target.name}.incomplete")
    path.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BackupFault(f"another backup to {target} is under way") from exc
        try:
            _empty(path)
            yield Backup(path)
        finally:
            if path.is_dir():
                shutil.rmtree(path)
    finally:
        os.close(lock)


def _empty(path: Path) -> None:
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _page_progress(say: Say) -> Callable[[int, int], None]:
    return lambda done, total: say(f"database: {done} of {total} pages")
