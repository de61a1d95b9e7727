"""What a reader takes from itself before it reads, and the limits of one task."""

import math
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass

from ci_common.settings import Settings

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_LIKELY_VICTIM = 500


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """What one task may take."""

    seconds: float = 5.0
    """Of a processor, counted in whole ones."""
    memory: int = 512 * 1024**2
    """Bytes, beyond what the reader has before it begins."""

    @classmethod
    def of(cls, settings: Settings) -> "ReadingLimits":
        """Return the limits that the settings name."""
        return cls(settings.read_timeout, settings.read_memory)

    @property
    def longest_silence(self) -> float:
        """Seconds by the clock without a word from the reader, on a machine that is busy with other things."""
        return max(30.0, 6 * self.seconds)


def confine(parent: int) -> None:
    """Give up what reading does not need, and end together with the process `parent`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A terminal's Ctrl-C is for the server.
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if sys.platform != "linux":
        return
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(_LIKELY_VICTIM))  # Where the machine has no memory left, the server stays.
    except OSError:
        pass


class Allowance:
    """The limits that hold for this process while it does one task."""

    def __init__(self) -> None:
        self._limits: ReadingLimits | None = None
        self._size = memory_size()
        self._seconds = 0
        self._renewed = -1

    def begin(self, limits: ReadingLimits) -> None:
        """Let the limits hold from now on."""
        if self._size is not None and limits != self._limits:
            _soft(resource.RLIMIT_AS, self._size + limits.memory)
        self._limits = limits
        self._seconds = max(1, math.ceil(limits.seconds))
        self.start_over(writes=True)

    def start_over(self, *, writes: bool) -> None:
        """Count the time from now on. Where it does not write, no file can be made longer."""
        self._renewed = -1
        self.renew()
        _soft(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY if writes else 0)

    def renew(self) -> None:
        """Give the task its processor time another time. Cheap enough to be called for every file."""
        used = math.ceil(time.process_time())
        if used != self._renewed:
            self._renewed = used
            _soft(resource.RLIMIT_CPU, used + self._seconds)


def lift_memory() -> None:
    """Let a task that has used its memory up say so."""
    _soft(resource.RLIMIT_AS, resource.RLIM_INFINITY)


def memory_size() -> int | None:
    """Return the bytes of this process's address space, or None where the system does not tell."""
    return _statm(0)


def resident_size() -> int | None:
    """Return the bytes of memory that this process takes, or None where the system does not tell."""
    return _statm(1)


def _statm(field: int) -> int | None:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[field]) * resource.getpagesize()
    except OSError:
        return None


def _soft(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    bounded = value if hard == resource.RLIM_INFINITY else hard if value == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (bounded, hard))
