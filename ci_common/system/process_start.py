"""When a process started, and where its pid means something.

This imports next to nothing, because the supervisor of the process runtime imports it, whose start a job waits for.
"""

import os
import sys


def start_time_of(pid: int) -> str | None:
    """Return when a process started, in the system's own terms; None where it does not run (any more)."""
    found = state_and_start_of(pid)
    return None if found is None else found[1]


def state_and_start_of(pid: int) -> tuple[str, str] | None:
    """Return the letter of a process's state, as `ps` shows it, and when it started; None where it does not run."""
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


def pid_scope() -> str:
    """Return the machine, its boot and the pid namespace in which this process's pids mean something."""
    boot = boot_id()
    if boot is not None:
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    import socket

    return socket.gethostname()


def boot_id() -> str | None:
    """Return the name of the machine's present boot, or None where the system has none."""
    if sys.platform != "linux":
        return None
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
