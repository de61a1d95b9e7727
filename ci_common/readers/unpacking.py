"""Unpacking as a task of readers, and one reader for one archive."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ci_common.errors import InvalidUpload
from ci_common.readers.child import Caller, Task
from ci_common.readers.pool import Readers, Work
from ci_common.unpack import UnpackLimits, unpack


def unpack_task(argument: dict[str, Any], caller: Caller) -> None:
    """Unpack an archive as `unpack` does. What another reader has left in the target goes first."""
    target = Path(argument["target"])
    if argument["again"]:
        _empty(target)
    limits = UnpackLimits(*argument["limits"])
    unpack(
        Path(argument["archive"]),
        target,
        limits,
        on_member=lambda path: _begin(caller, path),
        check_room=caller.advance,
    )


TASKS: dict[str, Task] = {"unpack": unpack_task}


async def unpack_with(
    readers: Readers,
    archive: Path,
    target: Path,
    limits: UnpackLimits,
    *,
    check_room: Callable[[], None] = lambda: None,
) -> None:
    """Unpack `archive` into the existing, empty directory `target`, in a process that is gone once this has ended.

    `check_room` is called once in a while, and before every MiB that is written; what it raises ends the unpacking.
    Further raises InvalidUpload, TooLarge, OSError where the disk cannot take it, and what `Readers.do` raises.
    """
    argument = {
        "archive": str(archive),
        "target": str(target),
        "limits": [limits.bytes, limits.members, limits.ratio, limits.ratio_free_bytes],
    }
    work = Work("unpack", argument, target, InvalidUpload, writes=True)
    await readers.do(work, on_advance=check_room)


async def unpack_apart(archive: Path, target: Path, limits: UnpackLimits) -> None:
    """Unpack as `unpack_with` does, by a reader of its own."""
    async with Readers(__name__, limits.reading) as readers:
        await unpack_with(readers, archive, target, limits)


def _begin(caller: Caller, path: str) -> None:
    caller.note(path)
    caller.advance()


def _empty(directory: Path) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
