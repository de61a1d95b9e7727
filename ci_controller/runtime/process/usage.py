"""What a job uses that runs as processes: of those that run, from /proc; in the end, from its supervisor."""

import json
import os
from collections.abc import Iterator

from ci_common.attempts.outcomes import ResourceUse, Sample

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_PROCESSES = 10_000


def measured(supervisor: int) -> Sample | None:
    """Return what the processes below a supervisor use; None where the system has no /proc or it is gone."""
    memory, ticks, read, written = 0, 0, 0, 0
    found = False
    for pid in _descendants(supervisor):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        found = True
        ticks += sum(int(field) for field in fields[11:15])  # Of itself, and of children that it has waited for.
        memory += int(fields[21]) * _PAGE
        more = _transferred(pid)
        read, written = read + more[0], written + more[1]
    if not found:
        return None
    return Sample(0.0, memory, round(ticks / _TICKS, 3), read, written)


def _transferred(pid: int) -> tuple[int, int]:
    """Return the bytes that a process has read from and written to disks; 0 of one that is another user's."""
    try:
        with open(f"/proc/{pid}/io") as file:
            counts = dict(line.split(": ") for line in file.read().splitlines())
        return int(counts["read_bytes"]), int(counts["write_bytes"])
    except (OSError, ValueError, KeyError):
        return 0, 0


def _descendants(pid: int) -> Iterator[int]:
    waiting, seen = [pid], 0
    while waiting and seen < _MOST_PROCESSES:
        parent = waiting.pop()
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        seen += len(children)
        yield from children
        waiting += children


def final_use(text: str | None) -> ResourceUse | None:
    """Return what a supervisor has written of a job that has ended; None if it has not."""
    try:
        counts = json.loads(text or "")
        return ResourceUse(
            peak_memory=int(counts["peak_memory"]),
            cpu_seconds=float(counts["cpu_seconds"]),
            read_bytes=int(counts["read_bytes"]),
            written_bytes=int(counts["written_bytes"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
