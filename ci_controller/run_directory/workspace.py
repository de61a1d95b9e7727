"""The workspace of an attempt after the first: unpacked again, since the one before may have changed all of it."""

from pathlib import Path

from ci_common.archives.tasks import unpack_apart
from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import InvalidUpload, StartFault, TooLarge
from ci_common.jobs import new_job_id
from ci_common.run_directory.layout import RunDirectory
from ci_common.system.trees import Folder


async def fill_workspace(run: RunDirectory, upload: Path, limits: UnpackLimits) -> None:
    """Make the workspace of `run` by unpacking `upload`: afterwards it is whole, or is not there.

    Raises StartFault where the upload is gone or not to be unpacked any more, OSError where the disk cannot take it.
    """
    if not upload.is_file():
        raise StartFault(f"what was uploaded is gone from the data directory ({upload}); submit it again")
    # A name of its own: a controller that was stopped in here may go on beside the one that followed it.
    draft = run.workspace.with_name(f"{run.workspace.name}.{new_job_id()}")
    draft.mkdir(parents=True)
    try:
        await unpack_apart(upload, draft, limits)
    except (InvalidUpload, TooLarge) as exc:
        raise StartFault(f"what was uploaded cannot be unpacked again: {exc}") from exc
    with Folder.opened(run.path) as folder:
        folder.move(draft.name, folder, run.workspace.name)
