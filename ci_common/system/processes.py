"""The identity of a process: its pid and start time, within one boot of one machine and one pid namespace.

A pid alone is not enough, because pids are reused. The supervisor of the process runtime imports this module while a
job waits for it, so it imports little.
"""

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, distinct from all others ever."""

    pid: int
    start: str
    """Its start time, as the system states it: clock ticks since boot on Linux, a date elsewhere."""
    scope: str
    """The machine, its boot and the pid namespace in which `pid` means something."""

    def is_here(self) -> bool:
        """Return whether the process belongs to this machine, boot and pid namespace, as `is_alive` requires."""
        return self.scope == pid_scope()

    def is_alive(self) -> bool:
        """Return whether the process runs. False in another scope: ask `is_here` first if that matters."""
        return self.is_here() and start_time_of(self.pid) == self.start

    def is_stopped(self) -> bool:
        """Return whether the process is stopped (SIGSTOP)."""
        return self.is_here() and state_and_start_of(self.pid) == ("T", self.start)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        import json

        return json.dumps({"pid": self.pid, "start": self.start, "scope": self.scope})

    @classmethod
    def from_json(cls, text: str) -> "ProcessIdentity":
        """Return the identity in a text from `to_json`. Raises ValueError."""
        import json

        try:
            data = json.loads(text)
            return cls(int(data["pid"]), str(data["start"]), str(data["scope"]))
        except (KeyError, TypeError) as exc:
            raise ValueError(f"not a process identity: {text!r}") from exc


def identity_of(pid: int) -> ProcessIdentity | None:
    """Return the identity of a running process, or None if there is none."""
    start = start_time_of(pid)
    return None if start is None else ProcessIdentity(pid, start, pid_scope())


def this_process() -> ProcessIdentity:
    """Return this process's identity."""
    identity = identity_of(os.getpid())
    assert identity is not None, "a running process has a start time"
    return identity


def start_time_of(pid: int) -> str | None:
    """Return when a process started, as the system states it; None if it does not run (any more)."""
    found = state_and_start_of(pid)
    return None if found is None else found[1]


def state_and_start_of(pid: int) -> tuple[str, str] | None:
    """Return the letter of a process's state, as `ps` shows it, and its start time; None if it does not run."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                stat = file.read().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()  # The name before may hold spaces and parentheses.
        return None if fields[0] in "ZX" else (fields[0], fields[19])
    import subprocess

    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    state, _, start = listing.stdout.strip().partition(" ")
    return None if not start or state.startswith("Z") else (state[0], start.strip())


def members_of_group(group: int) -> list[ProcessIdentity]:
    """Return the running processes of a process group; none on other systems than Linux."""
    found = []
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().decode(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # It is no process, or has just ended.
        if name.isdecimal() and fields[0] not in "ZX" and int(fields[2]) == group:
            found.append(ProcessIdentity(int(name), fields[19], pid_scope()))
    return found


def pid_scope() -> str:
    """Return the machine, its boot and the pid namespace in which this process's pids mean something."""
    boot = boot_id()
    if boot is not None:
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    import socket

    return socket.gethostname()


def boot_id() -> str | None:
    """Return the id of the current boot of this machine, or None if the system has none."""
    if sys.platform != "linux":
        return None
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
