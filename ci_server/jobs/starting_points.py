"""Where in the log a stream begins: what its reader asks for, and what it has already."""

import os
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from ci_common.errors import FieldError, InvalidRequest
from ci_common.jobs import Job, State
from ci_common.parsing.values import Integer
from ci_common.run_directory.layout import RunDirectory, open_regular
from ci_common.run_directory.output import LogTimes, character_start, last_lines
from ci_common.stream import BEGINNING, Cursor
from ci_server.http.request_reading import read_query
from ci_server.jobs.listing import Instant

_HEADER = "last-event-id"


class StreamQuery(BaseModel):
    """What `GET /jobs/{id}/stream` may be asked."""

    model_config = ConfigDict(extra="forbid")
    from_beginning: bool = False
    tail: Integer | None = Field(None, ge=0, le=1_000_000)
    since: Instant = None


def starting_point(request: Request, job: Job, run: RunDirectory) -> Cursor | None:
    """Return from where the stream is wanted, or None where its reader has seen all there will be.

    `run` is the run directory of the job's present attempt, to which everything but the beginning of all refers.

    Raises InvalidRequest.
    """
    query = read_query(request, StreamQuery)
    given = [name for name in ("from_beginning", "tail", "since") if getattr(query, name) not in (None, False)]
    if len(given) > 1:
        message = f"it cannot be given together with {given[0]}"
        raise InvalidRequest(f"the query is not valid: {given[1]}: {message}", FieldError(given[1], message))
    seen = request.headers.get(_HEADER, "")
    if seen:
        return _resumed(seen, job, run)
    if query.from_beginning:
        return BEGINNING
    return Cursor(job.attempt, _located(query.tail, query.since, job, run))


def _resumed(seen: str, job: Job, run: RunDirectory) -> Cursor | None:
    try:
        cursor = Cursor.parse(seen.strip())
    except ValueError as exc:
        raise _not_an_id(f"{exc}; send the last one back as it came") from exc
    if cursor.attempt > job.attempt:
        raise _not_an_id(f"it is of attempt {cursor.attempt}, and the job has not come further than {job.attempt}")
    # A reader that was cut between the last byte of the log and the verdict is told so as well: it asks for the job.
    if job.state is State.COMPLETED:
        return None if cursor >= Cursor(job.attempt, job.log_bytes or 0) else cursor
    # Where the log is shorter, be it that the job has truncated it, the reader goes on at its end.
    return min(cursor, Cursor(job.attempt, run.log_size()))


def _not_an_id(message: str) -> InvalidRequest:
    return InvalidRequest(f"the header Last-Event-ID is not valid: {message}", FieldError(_HEADER, message))


def _located(tail: int | None, since: datetime | None, job: Job, run: RunDirectory) -> int:
    try:
        descriptor = open_regular(run.log)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        end = min(size, job.log_bytes or 0) if job.state is State.COMPLETED else size
        if tail is not None:
            return last_lines(descriptor, end, tail)
        start = end if since is None else min(end, LogTimes(run.times).offset_at(since))
        return start if start == end and job.state is State.COMPLETED else character_start(descriptor, start)
    finally:
        os.close(descriptor)
