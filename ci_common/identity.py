"""Who sends a request, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """A permission. Each endpoint of the API needs at most one."""

    JOBS_READ = "jobs:read"
    """See jobs, their logs and streams."""
    JOBS_WRITE = "jobs:write"
    """Submit, retry, cancel and delete jobs."""
    METRICS_READ = "metrics:read"
    """See metrics and the pool."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A sender of requests, with the permissions it has."""

    name: str
    scopes: frozenset[Scope]


LOCAL = Identity("local", frozenset(Scope))
"""The identity of every request while the server has no keys. It may do everything."""
