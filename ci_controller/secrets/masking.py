"""Masks for good what an attempt has left: its log, and what it says about itself."""

import errno
import hashlib
import os
from dataclasses import replace

from ci_common.attempts.outcomes import Annotation, Results
from ci_common.errors import NoRoom
from ci_common.jobs import Job, new_job_id
from ci_common.run_directory.attributes import allow_changes
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.masked_log import MaskedLog, masks_of
from ci_common.run_directory.untrusted_files import open_regular
from ci_common.secrets.masks import Masks
from ci_common.secrets.sealing import MaskKeeper
from ci_common.system.trees import Folder

_CHUNK = 1024 * 1024


def finished_log(job: Job, run: RunDirectory, keeper: MaskKeeper | None) -> tuple[MaskedLog, int, str]:
    """Mask the log of an attempt that has ended, in its file; return it with its length and its SHA-256.

    The file becomes what readers were shown while it grew, and is replaced as a whole. May be repeated: what is masked
    is not masked in another way. Blocks. Raises NoRoom where the disk has no room for a second log, OSError.
    """
    # Without the values, the log was masked before, as in a backup.
    masks = None if keeper is None else masks_of(job, run, keeper)
    log, digest = MaskedLog(Masks() if masks is None else masks), hashlib.sha256()
    try:
        descriptor = open_regular(run.log)
    except FileNotFoundError:
        return log, 0, digest.hexdigest()
    try:
        size = os.fstat(descriptor).st_size  # It may grow faster than it can be read.
        log.finish(descriptor, size)
        changed = False
        for start in range(0, size, _CHUNK):
            end = min(start + _CHUNK, size)
            shown = log.read(descriptor, start, end, size)
            digest.update(shown)
            if not log.masks_nothing:
                changed = changed or shown != os.pread(descriptor, end - start, start)
        if changed:
            _replace(run, log, descriptor, size)
        return log, size, digest.hexdigest()
    finally:
        os.close(descriptor)


def _replace(run: RunDirectory, log: MaskedLog, descriptor: int, size: int) -> None:
    """Put the masked log in the place of the log. A reader has one of them open, or the other."""
    name = run.log.name
    draft = f"{name}.{new_job_id()}"
    try:
        with Folder.opened(run.path) as folder:
            target = folder.create(draft, 0o600)
            try:
                with open(target, "wb") as file:
                    for start in range(0, size, _CHUNK):
                        file.write(log.read(descriptor, start, min(start + _CHUNK, size), size))
                    os.utime(target, ns=(os.fstat(descriptor).st_atime_ns, os.fstat(descriptor).st_mtime_ns))
                allow_changes(run.log)
                folder.move(draft, folder, name)
            except BaseException:
                folder.delete(draft)
                raise
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(f"the log has secrets in it, and the disk has no room to mask them: {exc.strerror}") from exc
        raise


def masked_results(results: Results, log: MaskedLog) -> Results:
    """Return what a job said about itself with its secrets masked."""
    return Results(
        None if results.summary is None else log.text(results.summary),
        tuple(_masked(annotation, log) for annotation in results.annotations),
        {log.text(name): log.text(value) for name, value in results.outputs.items()},
    )


def _masked(annotation: Annotation, log: MaskedLog) -> Annotation:
    tool, title, file = (None if text is None else log.text(text) for text in _texts(annotation))
    return replace(annotation, message=log.text(annotation.message), tool=tool, title=title, file=file)


def _texts(annotation: Annotation) -> tuple[str | None, ...]:
    return annotation.tool, annotation.title, annotation.file
