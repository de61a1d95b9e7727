"""Takes a backup while everything runs.

The database is copied first, as of one moment, and then the files of the jobs in it. That fits together: uploads and
the logs of ended attempts never change, and other logs only grow. A job that is deleted in between is left out.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ci_common.jobs import Job, State
from ci_common.parsing.text import shown_size
from ci_common.run_directory.layout import DataDirectory
from ci_common.secrets.ring import KeyRing
from ci_common.secrets.sealing import MaskKeeper
from ci_common.settings import Settings
from ci_common.system.tasks import in_thread
from ci_common.times import Clock, utc_now
from ci_controller.backup.files import Copied, Packs, copy_content, copy_job, locked, sha256_of
from ci_controller.backup.manifest import FORMAT, Backup, BackupFault, Manifest
from ci_persistence.copies import Copy, Say, copied, kind_of, newest_schema


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


async def take_backup(
    settings: Settings, target: Path, say: Say, *, with_key_ring: bool = False, clock: Clock = utc_now
) -> Manifest:
    """Write a backup to the directory `target`, which must not exist, and return its manifest.

    Until it is complete it is named `target.incomplete`. `with_key_ring` adds the keys of the secrets. Raises
    BackupFault, Unavailable, OSError.
    """
    check_files(settings)
    source = DataDirectory(settings.data_path)
    _check_target(target, source)
    with _draft(target) as draft:
        created, kind = clock(), kind_of(settings.database)
        tally, packs, keeper = _Tally(), Packs(), MaskKeeper(KeyRing(settings.keyring_path))
        async with copied(settings.database, draft.database(kind), say) as copy:
            async for job in copy.jobs():
                tally.count(job, await in_thread(copy_job, job, source, draft.data, packs, keeper))
                say(f"{tally.jobs} jobs, {shown_size(tally.bytes)}")
            await _leave_out_deleted(copy, draft, tally)
            secrets = await copy.secrets()
        # After the database: no key is removed from the ring before what it sealed is sealed again.
        if with_key_ring:
            await in_thread(_copy_key_ring, settings.keyring_path, draft.key_ring)
        manifest = Manifest(
            format=FORMAT,
            created=created,
            program=program_version(),
            schema_version=newest_schema(),
            installation_id=copy.installation.id,
            data_path=copy.installation.data_path,
            database=kind,
            database_sha256=await in_thread(sha256_of, draft.database(kind)),
            left_out=tuple(sorted(copy.left_out)),
            jobs=tally.jobs,
            unfinished=tally.unfinished,
            files=tally.files,
            bytes=tally.bytes,
            without_upload=tally.without_upload,
            damaged=tuple(tally.damaged),
            secrets=secrets,
            key_ring=with_key_ring,
        )
        draft.manifest.write_text(manifest.model_dump_json(indent=2) + "\n")
        say("waiting for the disk")
        await in_thread(os.sync)
        draft.path.rename(target)
        await in_thread(os.sync)
    return manifest


def _copy_key_ring(ring: Path, target: Path) -> None:
    KeyRing(ring).read()
    with ring.open("rb") as file:
        copy_content(file.fileno(), target, os.fstat(file.fileno()).st_size)


def check_files(settings: Settings) -> None:
    """Raise BackupFault where the data directory is on another host."""
    if not settings.has_files:
        raise BackupFault(f"CI_FILES={settings.files}: run it on the host that has the data directory")


def program_version() -> str:
    """Return the version of ci-server that is installed."""
    try:
        return version("ci-server")
    except PackageNotFoundError:
        return "not installed"


async def _leave_out_deleted(copy: Copy, draft: Backup, tally: _Tally) -> None:
    """Leave out the jobs that were deleted while their files were copied; those that still exist are damaged."""
    deleted = tally.incomplete.keys() - await copy.known(tally.incomplete)
    await copy.leave_out(deleted)
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
