"""A job's stream: its events, and the cursor that names a place in it."""

import re
from dataclasses import dataclass
from typing import Any, TypedDict

from ci_common.jobs import Job, Reason, State

JOB_ID, STATUS, LOG, STEP, ATTEMPT, COMPLETE = "job_id", "status", "log", "step", "attempt", "complete"
REFUSED = "refused"
"""The values of `type` in a stream's events."""

WIRE_STATUS = {
    State.QUEUED: "queued",
    State.STARTING: "queued",
    State.RUNNING: "running",
    State.COMPLETED: "completed",
}
"""The status of a job as users see it, by its state."""

_CURSOR = re.compile(r"(?:([1-9][0-9]{0,2})-)?([0-9]{1,18})")


class Event(TypedDict, total=False):
    """One event of a job's stream; `type` decides which keys it has.

    `job_id`: job_id. `status`: status, reason. `log`: data, time, and `base64` with the exact bytes if not UTF-8.
    `step`: name, status, exit_code. `attempt`: attempt, max_attempts, and `previous` with attempt, conclusion, reason,
    exit_code, log_bytes and log_sha256 of the previous attempt. `complete`: success, conclusion, reason, exit_code,
    log_bytes, log_sha256. `refused`: code, message. The client library adds `offset` to log events, the byte offset in
    the attempt's log after the event, and `id` to log and attempt events: the place to resume at, as `last_id`.
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
    code: str
    message: str
    offset: int
    id: str


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a job's stream: after `offset` bytes of the log of `attempt`. Cursors sort in the stream's order.

    On the wire it is the `id:` of events: `17` in the first attempt, and `2-17` (`<attempt>-<offset>`) in a later one.
    """

    attempt: int = 1
    offset: int = 0

    def __str__(self) -> str:
        return str(self.offset) if self.attempt == 1 else f"{self.attempt}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Return the cursor in an event's `id:`. Raises ValueError."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not the id of an event")
        return cls(int(match[1] or 1), int(match[2]))


BEGINNING = Cursor()
"""The beginning of the stream."""


def reason_on_wire(reason: Reason | None) -> dict[str, str] | None:
    """Return a reason as `{"code", "message"}`, or None."""
    return None if reason is None else {"code": reason.code, "message": reason.message}


def status_event(job: Job) -> Event:
    """Return the event with the status of a job that has not completed."""
    return {"type": STATUS, "status": WIRE_STATUS[job.state], "reason": reason_on_wire(job.reason)}


def attempt_event(job: Job, number: int) -> Event:
    """Return the event before the log of attempt `number`, which is not the first one."""
    previous = job.earlier_attempts[number - 2]
    return {
        "type": ATTEMPT,
        "attempt": number,
        "max_attempts": job.max_attempts,
        "previous": {
            "attempt": previous.number,
            "conclusion": previous.conclusion,
            "reason": reason_on_wire(previous.reason),
            "exit_code": previous.exit_code,
            "log_bytes": previous.log_bytes,
            "log_sha256": previous.log_sha256,
        },
    }


def complete_event(job: Job) -> Event:
    """Return the last event in the stream of a completed job."""
    return {
        "type": COMPLETE,
        "success": job.conclusion == "succeeded",
        "conclusion": str(job.conclusion),
        "reason": reason_on_wire(job.reason),
        "exit_code": job.exit_code,
        "log_bytes": job.log_bytes or 0,
        "log_sha256": job.log_sha256 or "",
    }


def refused_event(message: str) -> Event:
    """Return the last event of a stream whose reader may not go on, since its key is not accepted any more."""
    return {"type": REFUSED, "code": "key_invalid", "message": message}
