"""One line for every request."""

import logging

from starlette.types import Scope

_JOB_ID = "ci_server.job_id"

logger = logging.getLogger("ci_server.requests")


def note_job(scope: Scope, job_id: str) -> None:
    """Have the request's log line name a job that its path does not."""
    scope[_JOB_ID] = job_id


def path_of(scope: Scope) -> str:
    """Return the path as it came, still encoded, so that it cannot break out of its line."""
    raw = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    return str(raw.decode("ascii", "backslashreplace"))


def log_request(scope: Scope, status: int, seconds: float, job_id: str | None = None) -> None:
    """Write the one line that every request leaves in the log."""
    job_id = job_id or scope.get(_JOB_ID) or scope.get("path_params", {}).get("job_id", "-")
    shown = ascii(job_id)[1:-1]
    logger.info("%s %s %d %.1f ms job=%s", scope["method"], path_of(scope), status, seconds * 1000, shown)
