"""The workspace of an attempt that does not begin with the one that the server unpacked.

An attempt after the first gets a new one, since the one before may have changed all of it. An attempt that takes a
waiting workload brings its workspace along.
"""

import errno
import os
import stat
from pathlib import Path

from ci_common.archives.tasks import unpack_apart
from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import InvalidUpload, TooLarge
from ci_common.jobs import new_job_id
from ci_common.manifests.tasks import fill_apart
from ci_common.run_directory.layout import UPLOAD, RunDirectory
from ci_common.runtime_faults import StartFault
from ci_common.system.trees import Folder
from ci_controller.run_directory.preparation import give_secrets, has_workspace


async def fill_workspace(run: RunDirectory, upload: Path, limits: UnpackLimits) -> None:
    """Make the workspace of `run` by unpacking `upload`: afterwards it is whole, or is not there.

    The stored upload by manifest beside it is used, if there is one. Raises StartFault where the upload is gone or not
    to be unpacked any more, OSError where the disk cannot take it.
    """
    stored = upload.with_name(UPLOAD)
    by_manifest = stored.is_dir()
    if not by_manifest and not upload.is_file():
        raise StartFault(f"what was uploaded is gone from the data directory ({upload}); submit it again")
    # A name of its own: a controller that was stopped in here may go on beside the one that followed it.
    draft = run.workspace.with_name(f"{run.workspace.name}.{new_job_id()}")
    draft.mkdir(parents=True)
    try:
        if by_manifest:
            await fill_apart(stored, draft, limits)
        else:
            await unpack_apart(upload, draft, limits)
    except (InvalidUpload, TooLarge) as exc:
        raise StartFault(f"what was uploaded cannot be unpacked again: {exc}") from exc
    with Folder.opened(run.path) as folder:
        folder.move(draft.name, folder, run.workspace.name)


def move_in(run: RunDirectory, waiting: RunDirectory, script: bytes, secrets: bytes | None = None) -> bool:
    """Make `waiting`, where a workload waits at its gate, the run directory `run` of the job of `script`.

    The workspace that the job has already goes along. May be repeated, wherever it broke off. Returns False, with
    nothing lost, where something else of the job's is in the way. The image's own programs run in there, too.
    """
    workspace = run.workspace.name
    with Folder.opened(waiting.path) as folder:
        if has_workspace(run):
            with Folder.opened(run.path) as project:
                project.move(workspace, folder, workspace)
        folder.make_folder(workspace)
        folder.make_folder(run.reports.name)
        is_open = bool(os.fstat(folder.descriptor).st_mode & stat.S_IWOTH)
        if secrets is not None:
            give_secrets(folder, waiting, secrets, for_everyone=is_open)
        # What the script has made there may be another user's, who has it open already.
        folder.write(waiting.job.name, script, for_everyone=is_open)
        if is_open:
            given = (run.secret_files.name,) if secrets is not None else ()
            for name in (workspace, run.reports.name, *given):
                with folder.folder(name) as opened:
                    opened.open_to_everyone()
    run.path.parent.mkdir(exist_ok=True)
    try:
        waiting.path.rename(run.path)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def is_free(run: RunDirectory) -> bool:
    """Return whether nothing is in the way of moving in there."""
    try:
        return set(os.listdir(run.path)) <= {run.workspace.name}
    except FileNotFoundError:
        return True


def move_out(run: RunDirectory, waiting: RunDirectory) -> None:
    """Give the job of `run` its workspace back, as far as `move_in` moved it; for code that has not begun.

    May be repeated. Call it once the workload is gone.
    """
    if has_workspace(waiting):
        run.path.mkdir(parents=True, exist_ok=True)
        with Folder.opened(waiting.path) as folder, Folder.opened(run.path) as project:
            folder.move(waiting.workspace.name, project, run.workspace.name)
