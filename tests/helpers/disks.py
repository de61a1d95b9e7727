"""Disks that are as full as a test wants them: played ones, and a small real one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class PlayedUsage(NamedTuple):
    """What a disk says of itself, in bytes."""

    total: int
    free: int


@contextmanager
def small_volume(directory: Path, megabytes: int, kind: str = "ext4") -> Iterator[Path]:
    """Yield where a file system of that size is mounted, `ext4` or `tmpfs`, as long as the context lasts.

    For root on Linux.
    """
    image, place = directory / "volume.img", directory / "volume"
    with image.open("wb") as file:
        file.truncate(megabytes * 1024**2)
    place.mkdir()
    commands: dict[str, list[list[str | Path]]] = {
        "ext4": [["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, place]],
        "tmpfs": [["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place]],
    }
    for command in commands[kind]:
        subprocess.run(command, capture_output=True, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], capture_output=True, check=True)
        image.unlink()
