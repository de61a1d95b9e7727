"""Copies the upload and the logs of one job, and checks them against the job's row."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ci_common.errors import InvalidUpload
from ci_common.jobs import Job, State
from ci_common.manifests.stored import TREE, link_file, read_tree
from ci_common.run_directory.layout import KEPT, LOG, DataDirectory, RunDirectory
from ci_common.run_directory.masked_log import LiveLogs
from ci_common.run_directory.stored import read_mark
from ci_common.run_directory.untrusted_files import open_regular
from ci_common.secrets.sealing import MaskKeeper
from ci_controller.backup.manifest import BackupFault

_CHUNK = 1024 * 1024
_CANNOT_SHARE = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM})
"""Errors by which the system refuses to copy between two files by itself."""


Packs = dict[int, tuple[Path, str]]
"""The packs that have been copied: by inode of the source, the copy and its SHA-256. Jobs share packs by links."""


@dataclass(slots=True)
class Copied:
    """What was copied of one job."""

    files: int = 0
    bytes: int = 0
    has_upload: bool = False
    problems: list[str] = field(default_factory=list)
    """Where the files differ from what the row says."""


@dataclass(frozen=True, slots=True)
class _Log:
    attempt: int
    size: int | None
    """What the row says; None for an attempt that had not ended."""
    sha256: str | None


def copy_job(
    job: Job, source: DataDirectory, target: DataDirectory, packs: Packs, keeper: MaskKeeper | None = None
) -> Copied:
    """Copy upload, logs and their times, as far as they exist. Raises OSError where the target cannot be written.

    A pack that has been copied for another job gets a further link. The log of an attempt that has not ended is
    copied as it is shown, with secrets masked by what `keeper` has of them; those of others are masked already.
    """
    copied = Copied()
    target.job(job.id).mkdir(mode=0o700, parents=True)
    if job.has_upload:
        _copy_upload(job, source, target, packs, copied)
    for log in _logs(job):
        _copy_log(job, log, source, target, copied, keeper)
    return copied


def _copy_upload(job: Job, source: DataDirectory, target: DataDirectory, packs: Packs, copied: Copied) -> None:
    expected = job.payload.get("upload", {}).get("sha256")
    if not source.stored_upload(job.id).is_dir():
        upload = _copy(source.upload(job.id), target.upload(job.id), copied)
        copied.has_upload = upload is not None
        if upload is not None and expected not in (None, upload[1]):
            copied.problems.append("its upload is not the one that was submitted")
        return
    stored = target.stored_upload(job.id)
    stored.mkdir(mode=0o700)
    copied.has_upload = True
    try:
        _copy(source.stored_upload(job.id) / TREE, stored / TREE, copied)
        tree = read_tree(stored)
        if expected not in (None, tree.id):
            copied.problems.append("its upload is not the one that was submitted")
        for pack in tree.packs:
            if _copy_pack(source.stored_upload(job.id) / pack.name, stored / pack.name, packs, copied) != pack.sha256:
                copied.problems.append(f"the pack {pack.name} of its upload is not the one that was received")
    except (InvalidUpload, FileNotFoundError) as exc:
        copied.problems.append(f"its upload is not whole: {exc}")


def _copy_pack(source: Path, target: Path, packs: Packs, copied: Copied) -> str | None:
    """Copy or link a pack; return its SHA-256."""
    inode = source.stat().st_ino
    if inode in packs:
        link_file(packs[inode][0], target)
    elif (result := _copy(source, target, copied)) is not None:
        packs[inode] = target, result[1]
    return packs[inode][1] if inode in packs else None


def _logs(job: Job) -> Iterator[_Log]:
    for attempt in job.earlier_attempts:
        yield _Log(attempt.number, attempt.log_bytes, attempt.log_sha256)
    ended = job.state is State.COMPLETED
    yield _Log(job.attempt, (job.log_bytes or 0) if ended else None, job.log_sha256)


def _copy_log(
    job: Job, log: _Log, source: DataDirectory, target: DataDirectory, copied: Copied, keeper: MaskKeeper | None
) -> None:
    run = source.run(job.id, log.attempt)
    if run.path.is_dir():
        target.run(job.id, log.attempt).path.mkdir(mode=0o700)
    # The times come first, so that none of them is later than the end of the log.
    _copy(run.times, target.run(job.id, log.attempt).times, copied)
    there = target.run(job.id, log.attempt).log
    if log.size is None and keeper is not None:
        _copy_shown(job, run, there, keeper, copied)
        _copy(run.stored, target.run(job.id, log.attempt).stored, copied)
    else:
        _copy_whole(log, run, target.run(job.id, log.attempt), copied)
    for name in sorted(KEPT - {LOG}):
        _copy(run.path / name, target.run(job.id, log.attempt).path / name, copied)
    if run.services.is_dir():
        kept = target.run(job.id, log.attempt).services
        kept.mkdir(mode=0o700)
        for path in run.services.glob("*.log"):
            _copy(path, kept / path.name, copied)


def _copy_whole(log: _Log, run: RunDirectory, target: RunDirectory, copied: Copied) -> None:
    found = _copy(run.log, target.log, copied)
    # The mark of a log that is in the artifact store comes after the log, which is removed after that was written.
    _copy(run.stored, target.stored, copied)
    if found is None:
        stored = read_mark(run.stored)
        found = (0, hashlib.sha256().hexdigest()) if stored is None else (stored.bytes, stored.sha256)
    if log.size is not None and (found[0] != log.size or log.sha256 not in (None, "", found[1])):
        copied.problems.append(
            f"the log of attempt {log.attempt} has {found[0]} bytes that are not the {log.size} it ended with"
        )


def _copy_shown(job: Job, run: RunDirectory, target: Path, keeper: MaskKeeper, copied: Copied) -> None:
    """Copy what readers are shown at present of a log that grows."""
    try:
        reading = open_regular(run.log)
    except FileNotFoundError:
        return
    try:
        log = LiveLogs(keeper).shown(job, run, reading)
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            for start in range(0, log.size, _CHUNK):
                file.write(log.read(start, start + _CHUNK))
    finally:
        os.close(reading)
    copied.files += 1
    copied.bytes += log.size


def _copy(source: Path, target: Path, copied: Copied) -> tuple[int, str] | None:
    """Copy a regular file; return the copy's length and SHA-256, or None where there is no such file."""
    try:
        reading = open_regular(source)
    except FileNotFoundError:
        return None
    try:
        # A log that still grows is copied up to its present length.
        result = copy_content(reading, target, os.fstat(reading).st_size)
    finally:
        os.close(reading)
    copied.files += 1
    copied.bytes += result[0]
    return result


def copy_content(reading: int, target: Path, size: int) -> tuple[int, str]:
    """Copy the first `size` bytes to a new file, and return the length and the SHA-256 of the copy.

    Blocks are shared where the file system can do so.
    """
    writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(writing, "r+b", buffering=0) as file:
        while (at := os.fstat(writing).st_size) < size:
            if not _copy_some(reading, writing, at, size - at):
                break  # The source has become shorter.
        digest, length = hashlib.sha256(), 0
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            length += len(chunk)
        return length, digest.hexdigest()


def _copy_some(reading: int, writing: int, at: int, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(reading, writing, min(count, 1 << 30), at, at)
        except OSError as exc:
            if exc.errno not in _CANNOT_SHARE:
                raise
    return os.pwrite(writing, os.pread(reading, min(count, _CHUNK), at), at)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(directory: Path, refusal: str) -> Iterator[None]:
    """Hold a lock on a directory. Raises BackupFault with the message `refusal` where another process holds it."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BackupFault(refusal) from exc
        yield
    finally:
        os.close(lock)
