"""Disks as full as a test wants them, and the processes that a run of the tests has left."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4


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


# Which processes a run of the tests has left: those that have its mark among their variables, or name its directory.
#
# Jobs of the process runtime get few variables, and outlive their servers; their words and working directories tell.

VARIABLE = "CI_TEST_RUN_MARK"
_ENDS_WITHIN_SECONDS = 10.0
_OF_MULTIPROCESSING = (b"from multiprocessing.forkserver import", b"from multiprocessing.resource_tracker import")
"""What the standard library runs beside the tests. It ends with them."""


@dataclass(frozen=True)
class Left:
    """A process that lives."""

    pid: int
    words: str


def mark_this_run() -> str:
    """Return the mark of this run, which all processes that it starts inherit."""
    return os.environ.setdefault(VARIABLE, uuid4().hex)


def processes_left(mark: str, directory: Path, *, within: float = _ENDS_WITHIN_SECONDS) -> list[Left]:
    """Return the processes of the run that do not end within so many seconds; none outside of Linux."""
    deadline = time.monotonic() + within
    while (found := list(_of_run(mark, directory))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def kill(left: list[Left]) -> None:
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _of_run(mark: str, directory: Path) -> Iterator[Left]:
    ours = _with_ancestors(os.getpid())
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) in ours:
            continue
        with suppress(OSError):  # It has ended, or is another user's.
            words = (entry / "cmdline").read_bytes()
            if any(helper in words for helper in _OF_MULTIPROCESSING):
                continue
            named = b"\0".join([words, os.fsencode(os.readlink(entry / "cwd")) + b"/"])
            if f"{directory}/".encode() in named or f"{VARIABLE}={mark}".encode() in (entry / "environ").read_bytes():
                yield Left(int(entry.name), words.replace(b"\0", b" ").decode(errors="replace").strip())


def _with_ancestors(pid: int) -> set[int]:
    found = {pid}
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.add(pid)
    return found


def shape_of(root: Path) -> dict[str, Any]:
    """Return everything in a directory: kinds, contents, permission to execute, targets."""
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = ("link", os.readlink(path))
            elif path.is_dir():
                found[key] = "folder"
            else:
                found[key] = (path.read_bytes(), bool(path.stat().st_mode & 0o111))
    return found
