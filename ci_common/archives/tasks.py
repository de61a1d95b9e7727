"""Unpacking as a task of readers, and one reader for one archive."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_common.archives.unpack import UnpackLimits, unpack
from ci_common.sandbox.channel import Task
from ci_common.sandbox.child import Caller, TaskFunction

if TYPE_CHECKING:
    from ci_common.sandbox.pool import Readers  # A reader has no use for it, and would start later.


def unpack_task(argument: dict[str, Any], caller: Caller) -> None:
    """Unpack an archive as `unpack` does. What another reader has left in the target goes first."""
    target = Path(argument["target"])
    if caller.is_again:
        _empty(target)
    limits = UnpackLimits(*argument["limits"])
    unpack(Path(argument["archive"]), target, limits, on_member=caller.go_on_to, check_room=caller.advance)


TASKS: dict[str, TaskFunction] = {"unpack": unpack_task}


def unpack_argument(archive: Path, target: Path, limits: UnpackLimits) -> dict[str, Any]:
    """Return what `unpack_task` takes."""
    bounds = [limits.bytes, limits.members, limits.ratio, limits.ratio_free_bytes]
    return {"archive": str(archive), "target": str(target), "limits": bounds}


async def unpack_with(
    readers: "Readers",
    archive: Path,
    target: Path,
    limits: UnpackLimits,
    *,
    check_room: Callable[[], None] = lambda: None,
) -> None:
    """Have `archive` unpacked into the existing, empty directory `target`.

    `check_room` is called before every MiB that is written; what it raises ends the unpacking. Further raises
    InvalidUpload, TooLarge, OSError where the disk cannot take it, and what `Readers.do` raises.
    """
    task = Task("unpack", unpack_argument(archive, target, limits), target)
    await readers.do(task, on_advance=check_room)


async def unpack_apart(archive: Path, target: Path, limits: UnpackLimits) -> None:
    """Have an archive unpacked as `unpack_with` does, by a reader of its own."""
    from ci_common.sandbox.pool import Readers

    async with Readers(__name__, limits.reading) as readers:
        await unpack_with(readers, archive, target, limits)


def _empty(directory: Path) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
