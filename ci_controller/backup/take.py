"""Takes a backup while everything runs.

The database is copied first, as of one moment, and then the files of the jobs in it. That fits together: uploads and
the logs of ended attempts never change, and other logs only grow. A job that is deleted in between is left out.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ci_common.jobs import Job, State
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.tasks import in_thread
from ci_common.times import Clock, utc_now
from ci_controller.backup.files import Copied, copy_job, locked, sha256_of
from ci_controller.backup.manifest import FORMAT, Backup, BackupFault, Manifest
from ci_persistence.repository import JobFilter, JobReader
from ci_persistence.sqlite.copies import copy_database, delete_completed, fold, known_jobs
from ci_persistence.sqlite.repository import open_repository
from ci_persistence.sqlite.schema import migrations

_PAGE = 100

Say = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(slots=True)
class _Tally:
    jobs: int = 0
    unfinished: int = 0
    files: int = 0
    bytes: int = 0
    without_upload: int = 0
    damaged: list[str] = field(default_factory=list)
    incomplete: dict[str, Copied] = field(default_factory=dict)
    """Jobs whose files differ from what their rows say, perhaps because they are being deleted."""

    def count(self, job: Job, copied: Copied) -> None:
        self.jobs += 1
        self.unfinished += job.state is not State.COMPLETED
        self.files += copied.files
        self.bytes += copied.bytes
        self.without_upload += job.has_upload and not copied.has_upload
        if copied.problems:
            self.incomplete[job.id] = copied


async def take_backup(settings: Settings, target: Path, say: Say, *, clock: Clock = utc_now) -> Manifest:
    """Write a backup to the directory `target`, which must not exist, and return its manifest.

    Until it is complete it is named `target.incomplete`. Raises BackupFault, Unavailable, OSError.
    """
    source = DataDirectory(settings.data_path)
    _check_target(target, source)
    with _draft(target) as draft:
        created = clock()
        await in_thread(copy_database, settings.db_path, draft.database, _page_progress(say))
        tally = _Tally()
        async with open_repository(draft.database) as repository:
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
    """Return the version of ci-server that is installed."""
    try:
        return version("ci-server")
    except PackageNotFoundError:
        return "not installed"


async def jobs_of(repository: JobReader) -> AsyncIterator[Job]:
    """Yield all jobs of a database that no other process has open, newest first."""
    older_than = None
    while page := await repository.list_jobs(JobFilter(), limit=_PAGE, older_than=older_than):
        for job in page:
            yield job
        older_than = page[-1].id


def _leave_out_deleted(live: Path, draft: Backup, tally: _Tally) -> None:
    """Leave out the jobs that were deleted while their files were copied; those that still exist are damaged."""
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
        raise BackupFault(f"{target} exists already; name a directory that does not exist")
    if target.resolve().is_relative_to(source.path.resolve()):
        raise BackupFault(f"{target} is in the data directory {source.path}; name a directory outside of it")
    if not target.parent.is_dir():
        raise BackupFault(f"there is no directory {target.parent} to make {target.name} in")


@contextmanager
def _draft(target: Path) -> Iterator[Backup]:
    """Yield a new directory beside `target`; at the end it is removed, unless it has been renamed.

    What an interrupted backup has left under its name is removed first.
    """
    path = target.with_name(f"{target.name}.incomplete")
    path.mkdir(mode=0o700, exist_ok=True)
    with locked(path, f"another backup to {target} is running"):
        try:
            _empty(path)
            yield Backup(path)
        finally:
            if path.is_dir():
                shutil.rmtree(path)


def _empty(path: Path) -> None:
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _page_progress(say: Say) -> Callable[[int, int], None]:
    return lambda done, total: say(f"database: {done} of {total} pages")
