"""Which process is meant: a pid alone is not enough, since pids are used again.

A process is named by its pid and its start time, within one boot of one machine and one pid namespace.
"""

import json
import os
from dataclasses import asdict, dataclass

from ci_common.system.process_start import pid_scope, start_time_of, state_and_start_of


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
        return self.scope == pid_scope()

    def is_alive(self) -> bool:
        """Tell whether the process runs. False for another scope: ask `is_here` first where that matters."""
        return self.is_here() and start_time_of(self.pid) == self.start

    def is_stopped(self) -> bool:
        """Tell whether the process lives and does nothing, because somebody has stopped it (SIGSTOP)."""
        return self.is_here() and state_and_start_of(self.pid) == ("T", self.start)

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
    return None if start is None else ProcessIdentity(pid, start, pid_scope())


def this_process() -> ProcessIdentity:
    """Return this process's identity."""
    identity = identity_of(os.getpid())
    assert identity is not None, "a process that runs has a start time"
    return identity
