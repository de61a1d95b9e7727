"""How many files and connections this process may have open.

The usual soft limit, 1024, is there for programs that use select(); the hard one is the system's. What a process starts
inherits its limit, so jobs are given back the one that there was.
"""

import resource

_PLENTY = 65_536

soft_limit_at_start = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def allow_many_descriptors() -> None:
    """Raise the soft limit as far as the system lets it, to at most 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _PLENTY if hard == resource.RLIM_INFINITY else min(_PLENTY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            pass  # macOS has another bound besides; the limit there was goes on holding.
