"""The archives of caches on disk: copies for jobs, and taking over what jobs have packed.

    <data>/caches/ID.tar         a cache; it is moved there as a whole, and never changes
    <run>/caches/N.in, N.out     the job's own copy, and what it has packed

A job can change anything in its run directory at any time, so files there are reached through open directories. What
it has packed is only looked at once nothing of the job runs any more.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ci_common.attempts.parts import JobCache
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.spec_parts.caches import When
from ci_common.system.disk import sync
from ci_common.system.trees import Folder
from ci_controller.caches.archives import UnsafeArchive, check_archive
from ci_controller.run_directory.cache_script import DONE, FOLDER, PlacedCache

_CLONE = 0x40049409  # FICLONE
_CHUNK = 1 << 30
_RECORD_BYTES = 256 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class CacheRecord(BaseModel):
    """What is known of one cache of an attempt besides what the job has done."""

    model_config = ConfigDict(extra="forbid")

    number: int
    path: str
    key: str
    when: When
    restored_from: str | None
    bytes: int | None
    is_saved: bool
    saved: bool | None = None
    """What has become of what the job packed; None as long as it has not been looked at."""


_RECORDS = TypeAdapter(list[CacheRecord])


def archive_of(data: DataDirectory, identity: str) -> Path:
    """Return where the archive of a cache is."""
    return data.caches / f"{identity}.tar"


def open_archive(data: DataDirectory, identity: str, size: int) -> int | None:
    """Return a descriptor of the archive of a cache, or None if it is not there as a whole."""
    try:
        descriptor = os.open(archive_of(data, identity), _READ)
    except FileNotFoundError:
        return None
    if os.fstat(descriptor).st_size == size:
        return descriptor
    os.close(descriptor)
    return None


@dataclass(slots=True)
class Choice:
    """The caches of an attempt that begins. The archives are open, so that none is removed before it is copied."""

    caches: list[PlacedCache] = field(default_factory=list)
    sources: dict[int, int] = field(default_factory=dict)
    """Descriptors of archives, by the numbers of the caches that they are for."""

    def place(self, directory: Path, run: RunDirectory, *, has_home: bool) -> None:
        """Copy the archives into the run directory at `directory`, which is to become that of the attempt, `run`.

        May be repeated. `has_home`: make a directory for the job's home, too. Raises OSError.
        """
        if not self.caches:
            return
        self._write_record(run)
        with Folder.opened(directory) as folder:
            is_open = bool(os.fstat(folder.descriptor).st_mode & stat.S_IWOTH)
            folder.make_folder(FOLDER)
            if has_home:
                folder.make_folder(run.home.name)
            with folder.folder(FOLDER) as archives:
                for cache in self.caches:
                    if cache.number in self.sources:
                        _copy(self.sources[cache.number], archives, cache.archive)
                if is_open:
                    archives.open_to_everyone()

    def _write_record(self, run: RunDirectory) -> None:
        run.path.parent.mkdir(exist_ok=True)
        records = [
            CacheRecord(
                number=cache.number,
                path=cache.plan.path,
                key=cache.plan.key,
                when=cache.plan.when,
                restored_from=cache.restored_from,
                bytes=cache.size if cache.restored_from is not None else None,
                is_saved=cache.is_saved,
            )
            for cache in self.caches
        ]
        write_records(run, records)

    def close(self) -> None:
        """Close the archives. May be repeated."""
        while self.sources:
            os.close(self.sources.popitem()[1])


def _copy(source: int, folder: Folder, name: str) -> None:
    draft = f"{name}.draft"
    folder.delete(draft)
    target = folder.create(draft, 0o600)
    try:
        try:
            fcntl.ioctl(target, _CLONE, source)
        except OSError:
            _copy_bytes(source, target)
        os.fchmod(target, 0o666)  # The job may have another user.
    finally:
        os.close(target)
    if folder.has_folder(name):
        folder.delete(name)
    folder.move(draft, folder, name)


def _copy_bytes(source: int, target: int) -> None:
    position = 0
    while True:
        try:
            copied = os.copy_file_range(source, target, _CHUNK, position)
        except OSError as exc:
            if exc.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            copied = os.sendfile(target, source, position, _CHUNK)
        if not copied:
            return
        position += copied


def read_records(run: RunDirectory) -> list[CacheRecord]:
    """Return what is known of the caches of an attempt; nothing for one without caches."""
    try:
        return _RECORDS.validate_json(read_capped(run.cache_record, _RECORD_BYTES) or b"[]")
    except ValidationError:
        return []


def write_records(run: RunDirectory, records: Iterable[CacheRecord]) -> None:
    """Write what is known of the caches of an attempt, as a whole. Raises OSError."""
    draft = run.cache_record.with_name(f"{run.cache_record.name}.draft")
    draft.write_bytes(_RECORDS.dump_json(list(records)))
    draft.replace(run.cache_record)


def outcomes(run: RunDirectory, records: Iterable[CacheRecord]) -> tuple[JobCache, ...]:
    """Return what became of the caches of an attempt whose code has ended."""
    return tuple(_outcome(run, record) for record in records)


def _outcome(run: RunDirectory, record: CacheRecord) -> JobCache:
    folder = run.path / FOLDER
    saved = record.saved
    if saved is None and not (record.is_saved and os.path.lexists(folder / f"{record.number}.out{DONE}")):
        saved = False
    is_restored = record.restored_from is not None
    if is_restored and record.saved is None and not os.path.lexists(folder / f"{record.number}.in{DONE}"):
        is_restored = False
    size = record.bytes if is_restored or saved else None
    return JobCache(record.path, record.key, record.restored_from if is_restored else None, size, saved)


@dataclass(frozen=True, slots=True)
class Taken:
    """An archive that is kept now."""

    size: int
    files: int


def take(data: DataDirectory, run: RunDirectory, record: CacheRecord, identity: str, most_bytes: int) -> Taken | None:
    """Move what a job has packed to where the archive of the cache `identity` is; return None if it packed nothing.

    To be called once nothing of the job runs any more. Raises UnsafeArchive, OSError.
    """
    name = f"{record.number}.out"
    try:
        with Folder.opened(run.path) as attempt, attempt.folder(FOLDER) as folder:
            if folder.state(f"{name}{DONE}") is None or folder.state(name) is None:
                return None
            descriptor = os.open(name, _READ, dir_fd=folder.descriptor)
            try:
                taken = _checked(descriptor, record, most_bytes)
                with suppress(OSError):  # Where the job has another user, its file is only readable here.
                    os.fchmod(descriptor, 0o600)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            data.caches.mkdir(mode=0o700, exist_ok=True)
            with Folder.opened(data.caches) as kept:
                folder.move(name, kept, archive_of(data, identity).name)
            sync(data.caches)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return taken


def _checked(descriptor: int, record: CacheRecord, most_bytes: int) -> Taken:
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
        raise UnsafeArchive("the job has put something else in the place of its archive")
    if state.st_size > most_bytes:
        raise UnsafeArchive(f"it has {state.st_size} bytes; at most {most_bytes} are kept (CI_MAX_CACHE_BYTES)")
    return Taken(state.st_size, check_archive(descriptor, record.path.rpartition("/")[2]))
