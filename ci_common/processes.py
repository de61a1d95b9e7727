"""Which process is meant: a pid alone is not enough, since pids are used again.

A process is named by its pid and its start time, within one boot of one machine and one pid namespace.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, for all time."""

    pid: int
    start: str
    """Its start time, as the system states it: clock ticks since boot on Linux, a date elsewhere."""
    scope: str
    """The machine, its boot and the pid namespace in which `pid` means something."""

    def is_here(self) -> bool:
        """Tell whether the process belongs to this machine, boot and pid namespace, so that `is_alive` can know."""
        return self.scope == _scope()

    def is_alive(self) -> bool:
        """Tell whether the process runs. False for another scope: ask `is_here` first where that matters."""
        return self.is_here() and start_time_of(self.pid) == self.start

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ProcessIdentity":
        """Raises ValueError where the text is not from `to_json`."""
        try:
            data = json.loads(text)
            return cls(int(data["pid"]), str(data["start"]), str(data["scope"]))
        except (KeyError, TypeError) as exc:
            raise ValueError(f"not a process identity: {text!r}") from exc


def identity_of(pid: int) -> ProcessIdentity | None:
    """Return the identity of a process that runs, or None where none does."""
    start = start_time_of(pid)
    return None if start is None else ProcessIdentity(pid, start, _scope())


def this_process() -> ProcessIdentity:
    """Return this process's identity."""
    identity = identity_of(os.getpid())
    assert identity is not None, "a process that runs has a start time"
    return identity


def start_time_of(pid: int) -> str | None:
    """Return when a process started, in the system's own terms; None where it does not run (any more)."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # The name before may hold spaces and parentheses.
        return None if fields[0] in "ZX" else fields[19]
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    state, _, start = listing.stdout.strip().partition(" ")
    return None if not start or state.startswith("Z") else start.strip()


def _scope() -> str:
    if sys.platform == "linux":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()
