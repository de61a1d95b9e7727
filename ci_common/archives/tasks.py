"""Unpacking as a task for readers."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_common.archives.unpack import UnpackLimits, unpack
from ci_common.sandbox.channel import Task
from ci_common.sandbox.child import Caller, TaskFunction

if TYPE_CHECKING:
    from ci_common.sandbox.pool import Readers  # Importing it would slow the start of readers, which do not use it.


def unpack_task(argument: dict[str, Any], caller: Caller) -> None:
    """Unpack an archive as `unpack` does, after removing what another reader has left in the target."""
    target = Path(argument["target"])
    if caller.is_again:
        empty(target)
    limits = UnpackLimits(*argument["limits"])
    unpack(Path(argument["archive"]), target, limits, on_member=caller.go_on_to, check_room=caller.advance)


TASKS: dict[str, TaskFunction] = {"unpack": unpack_task}


def unpack_argument(archive: Path, target: Path, limits: UnpackLimits) -> dict[str, Any]:
    """Return the argument of `unpack_task`."""
    return {"archive": str(archive), "target": str(target), "limits": limits_argument(limits)}


def limits_argument(limits: UnpackLimits) -> list[float]:
    """Return limits as JSON, from which `UnpackLimits(*…)` makes them again."""
    return [limits.bytes, limits.members, limits.ratio, limits.ratio_free_bytes]


async def unpack_with(
    readers: "Readers",
    archive: Path,
    target: Path,
    limits: UnpackLimits,
    *,
    check_room: Callable[[], None] = lambda: None,
) -> None:
    """Have `archive` unpacked into the existing, empty directory `target`.

    `check_room` is called before each 4 MiB that are written; an error that it raises ends the unpacking. Also raises
    InvalidUpload, TooLarge, OSError if writing fails, and what `Readers.do` raises.
    """
    task = Task("unpack", unpack_argument(archive, target, limits), target)
    await readers.do(task, on_advance=check_room)


async def unpack_apart(archive: Path, target: Path, limits: UnpackLimits) -> None:
    """Have an archive unpacked as `unpack_with` does, by a new reader."""
    from ci_common.sandbox.pool import Readers

    async with Readers(__name__, limits.reading) as readers:
        await unpack_with(readers, archive, target, limits)


def empty(directory: Path) -> None:
    """Delete everything in a directory that no job has seen. Raises OSError."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
