"""What the server's process uses, as Linux tells it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_USER, _CHILDREN_SYSTEM, _THREADS, _RESIDENT = 11, 14, 17, 21
"""Places in /proc/PID/stat behind the program's name."""
_MIB = 1024**2
_DESCRIPTORS_OF_A_READER = 4
"""Both pipes of a sandboxed reader, its memory, and what tells of its end."""


@dataclass(frozen=True)
class Usage:
    """One look at the process."""

    memory: int
    threads: int
    descriptors: int
    children: int
    incoming: int
    """Files and folders of uploads that are not jobs yet."""

    def grown(self, since: "Usage") -> list[str]:
        """Return what grew since an earlier look, beyond what settles by itself and what pools of threads may have."""
        readers = max(0, self.children - since.children)
        descriptors = 4 + readers * _DESCRIPTORS_OF_A_READER
        allowed = {"memory": 64 * _MIB, "threads": 16, "descriptors": descriptors, "children": 2, "incoming": 0}
        return [
            f"{name} grew from {before} to {now}"
            for name, most in allowed.items()
            if (now := getattr(self, name)) > (before := getattr(since, name)) + most
        ]


def usage_of(pid: int, incoming: Path) -> Usage:
    stat = _stat(pid)
    return Usage(
        memory=int(stat[_RESIDENT]) * _PAGE,
        threads=int(stat[_THREADS]),
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        children=len(_children(pid)),
        incoming=len(os.listdir(incoming)),
    )


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its children, living or waited for."""
    total = _seconds(pid)
    for child in _children(pid):
        with suppress(OSError):  # It has ended, and counts from now on with its parent.
            total += _seconds(child)
    return total


def _seconds(pid: int) -> float:
    return sum(map(int, _stat(pid)[_USER : _CHILDREN_SYSTEM + 1])) / _TICK


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with suppress(OSError):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found
