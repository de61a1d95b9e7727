"""Settings of this process: how many files it may have open, and how often its threads take turns.

The usual soft limit of open files, 1024, exists for programs that use select(); the hard limit is the system's. Child
processes inherit the limit, so jobs get back the one from before.
"""

import resource
import sys

SWITCH_SECONDS = 0.0005
_PLENTY = 65_536

soft_limit_at_start = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def allow_many_descriptors() -> None:
    """Raise the soft limit of open files to 65,536, or as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _PLENTY if hard == resource.RLIM_INFINITY else min(_PLENTY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # macOS has another bound besides; its limit stays as it was.


def set_thread_switch_interval() -> None:
    """Let threads take turns every half millisecond.

    Event loop and database run in threads of their own, each for fractions of a millisecond at a time. With Python's
    default of 5 ms, a commit waits that long for a busy event loop, and a job waits for the commit.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
