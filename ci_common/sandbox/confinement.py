"""The rights that a reader gives up before it reads, and the resource limits while it does a task."""

import math
import os
import resource
import signal
import sys
import time

from ci_common.sandbox.channel import ReadingLimits

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_LIKELY_VICTIM = 500


def confine(parent: int) -> None:
    """Give up rights that reading does not need, and end when the process `parent` ends."""
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
            file.write(
                str(_LIKELY_VICTIM)
            )  # If the machine runs out of memory, the kernel kills the reader, not the server.
    except OSError:
        pass


class Allowance:
    """The resource limits of this process while it does one task."""

    def __init__(self) -> None:
        self._limits: ReadingLimits | None = None
        self._size = memory_size()
        self._seconds = 0
        self._renewed = -1

    def begin(self, limits: ReadingLimits) -> None:
        """Set the limits for a new task."""
        if self._size is not None and limits != self._limits:
            _soft(resource.RLIMIT_AS, self._size + limits.memory)
        self._limits = limits
        self._seconds = max(1, math.ceil(limits.seconds))
        self.start_over(writes=True)

    def start_over(self, *, writes: bool) -> None:
        """Restart the processor time. If the task does not write, no file can grow."""
        self._renewed = -1
        self.renew()
        _soft(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY if writes else 0)

    def renew(self) -> None:
        """Allow the full processor time again. Cheap enough to be called for every file."""
        used = math.ceil(time.process_time())
        if used != self._renewed:
            self._renewed = used
            _soft(resource.RLIMIT_CPU, used + self._seconds)


def lift_memory() -> None:
    """Remove the memory limit, so that a task that exceeded it can report that."""
    _soft(resource.RLIMIT_AS, resource.RLIM_INFINITY)


def memory_size() -> int | None:
    """Return the bytes of this process's address space; None if the system does not report it."""
    return _statm(0)


def resident_size() -> int | None:
    """Return the bytes of memory that this process uses; None if the system does not report it."""
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
