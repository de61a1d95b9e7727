"""Logs of attempts that have ended, in the artifact store: what they are called there.

A log and the index of its times have fixed names, since a log that has ended never changes: who keeps it again
keeps the same. So a log can also be found where the database does not know of it, as after a restore.
"""

from typing import Final

from ci_common.artifacts.store import ContentLost

_COLLECTION: Final = "log"
"""Collections of artifacts are named by ids, which look different."""


class LogLost(ContentLost):
    """The store does not have a log that a row names."""

    detail = "the log of this attempt is gone from the store that kept it"


def log_key(job_id: str, attempt: int) -> str:
    """Return what the store calls the log of an attempt."""
    return f"{job_id}/{attempt}/{_COLLECTION}/text"


def times_key(job_id: str, attempt: int) -> str:
    """Return what the store calls the index of the times of that log."""
    return f"{job_id}/{attempt}/{_COLLECTION}/times"
