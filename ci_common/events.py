"""The events of a job's stream. Apart from `ci_common.wire`, so that the client needs no more to read them."""

from typing import Any, TypedDict

JOB_ID, STATUS, LOG, STEP, ATTEMPT, COMPLETE = "job_id", "status", "log", "step", "attempt", "complete"
"""The values of `type` in a stream's events."""


class Event(TypedDict, total=False):
    """One event of a job's stream; which keys it has depends on `type`.

    `job_id`: job_id. `status`: status, reason. `log`: data, time, and `base64` with the exact bytes where they are not
    valid UTF-8. `step`: name, status, exit_code. `attempt`: attempt, max_attempts, and `previous` with attempt,
    conclusion, reason, exit_code, log_bytes and log_sha256 of the one before. `complete`: success, conclusion, reason,
    exit_code, log_bytes, log_sha256. The client library adds `offset` to log events, the byte offset in the attempt's
    log after the event, and `id` to log and attempt events: where to go on, as `last_id`.
    """

    type: str
    job_id: str
    status: str
    reason: dict[str, str] | None
    data: str
    base64: str
    time: str
    name: str
    success: bool
    conclusion: str
    exit_code: int | None
    log_bytes: int
    log_sha256: str
    attempt: int
    max_attempts: int
    previous: dict[str, Any]
    offset: int
    id: str
