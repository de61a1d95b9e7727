"""What may be read of one job: the job, its log and its stream."""

import os
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from pydantic import Field
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.errors import AttemptNotFound, FieldError, InvalidRequest, JobNotFound, ServiceNotFound
from ci_common.jobs import Job, State
from ci_common.parsing.text import printable
from ci_common.parsing.values import Integer, Line
from ci_common.quotas import QuotaExceeded
from ci_common.run_directory.closing import shown_bytes
from ci_common.run_directory.last_lines import last_lines
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.masked_log import ShownLog
from ci_common.run_directory.output import LogTimes, character_start
from ci_common.run_directory.untrusted_files import open_regular
from ci_common.system.tasks import in_thread
from ci_common.wire.answers import JobWithLog, StreamTicketView
from ci_common.wire.live.events import StreamEvent
from ci_common.wire.problems import PROBLEM_MEDIA_TYPE, ProblemView
from ci_common.wire.stream import BEGINNING, Cursor
from ci_server.access.stream_tickets import LONGEST
from ci_server.endpoints import Answer, Call, Endpoint, Files, RateClass, json_answer
from ci_server.http.ranges import CHUNK_BYTES, ranged_content, ranged_response
from ci_server.http.requests import NoQuery, QueryModel
from ci_server.http.responses import Document, large_document
from ci_server.jobs.job_view import (
    attempt_of,
    find_job,
    job_document,
    log_excerpt,
    open_log,
    open_or_empty,
    shown_log,
    stored_log_of,
    stream_of,
)
from ci_server.jobs.list_endpoints import Instant
from ci_server.services import Services
from ci_server.streaming.stored_logs import StoredLog

_LAST_EVENT_ID = "last-event-id"
_LOG_TYPE = "text/plain; charset=utf-8"


class JobQuery(QueryModel):
    """What `GET /jobs/{id}` may be asked."""

    include: Literal["log"] | None = None


class LogQuery(QueryModel):
    """What `GET /jobs/{id}/log` may be asked."""

    attempt: Integer | None = Field(None, ge=1, description="which attempt's log; by default the last one's")


class StreamQuery(QueryModel):
    """Where a stream begins; at most one of these may be given."""

    from_beginning: bool = Field(False, description="the logs of all attempts")
    tail: Integer | None = Field(None, ge=0, le=1_000_000, description="the last lines of the log, and what is new")
    since: Instant = Field(None, description="what was written at this time or later")
    ticket: Line | None = Field(
        None, max_length=LONGEST, description="instead of a key, as `POST /jobs/{id}/ticket` has given it"
    )


@dataclass(slots=True)
class GrowingLog:
    """What is shown of an open log that grows, with secrets masked."""

    log: ShownLog
    size: int

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            chunk = self.log.read(start, min(start + CHUNK_BYTES, end))
            if not chunk:
                raise OSError("the log has become shorter while it was being sent")
            start += len(chunk)
            yield chunk

    def close(self) -> None:
        os.close(self.log.descriptor)


async def get_job(call: Call[JobQuery, None]) -> Response:
    job = await find_job(call)
    document = job_document(call.services, job)
    if call.query.include == "log":
        document["log"] = await log_excerpt(call.services, job)
        if job.state is State.COMPLETED:
            await call.services.storage.jobs.get(job.id)  # The log goes when the job is deleted: then it is not found.
    return await large_document(document)


async def get_job_log(call: Call[LogQuery, None]) -> Response:
    job = await find_job(call)
    if call.query.attempt is not None:
        job = attempt_of(job, call.query.attempt)
    completed = job.state is State.COMPLETED
    headers = {"Cache-Control": "no-cache"}
    if completed and job.log_sha256:
        headers["ETag"] = f'"{job.log_sha256}"'
    if (stored := await stored_log_of(call.services, job)) is not None:
        return ranged_content(call.request, stored.content(), media_type=_LOG_TYPE, headers=headers)
    descriptor, size = await open_log(call.services, job)
    if completed:
        size = min(size, job.log_bytes or 0)
        return ranged_response(call.request, descriptor, size, media_type=_LOG_TYPE, headers=headers)
    log = await shown_log(call.services, job, call.services.data.run_of(job), descriptor)
    content = GrowingLog(log, log.size)
    return ranged_content(call.request, content, media_type=_LOG_TYPE, headers=headers, growing=True)


async def get_service_log(call: Call[LogQuery, None]) -> Response:
    job, name = await find_job(call), call.request.path_params["name"]
    if call.query.attempt is not None:
        job = attempt_of(job, call.query.attempt)
    if name not in (job.plan or {}).get("services", ()):
        raise ServiceNotFound(f"job {job.id} has no service {printable(name)}")
    completed = job.state is State.COMPLETED
    descriptor = open_or_empty(call.services.data.run_of(job).service_log(name))
    size, headers = os.fstat(descriptor).st_size, {"Cache-Control": "no-cache"}
    return ranged_response(call.request, descriptor, size, media_type=_LOG_TYPE, headers=headers, growing=not completed)


async def stream_job(call: Call[StreamQuery, None]) -> Response:
    job = await find_job(call)
    seen = call.request.headers.get(_LAST_EVENT_ID, "")
    start = await stream_start(call.query, seen, job, call.services)
    if start is not None:
        await _check_logs(call.services, job, start)
    return Response(status_code=204) if start is None else await stream_of(call, job, start)


async def _check_logs(services: Services, job: Job, start: Cursor) -> None:
    """Raise FilesElsewhere, StoreUnavailable or LogLost where a log that the stream needs cannot be read."""
    for number in range(start.attempt, job.attempt + 1):
        if (stored := await stored_log_of(services, job.as_of(number))) is not None:
            stored.close()


async def stream_start(query: StreamQuery, seen: str, job: Job, services: Services) -> Cursor | None:
    """Return where the stream begins, or None if the reader has seen all there will be.

    `seen` is the reader's Last-Event-ID, or nothing. Raises InvalidRequest, FilesElsewhere, StoreUnavailable, LogLost.
    """
    run = services.data.run_of(job)
    given = [name for name in ("from_beginning", "tail", "since") if getattr(query, name) not in (None, False)]
    if len(given) > 1:
        message = f"it cannot be given together with {given[0]}"
        raise InvalidRequest(f"the query is not valid: {given[1]}: {message}", FieldError(given[1], message))
    if seen:
        return _resumed(seen, job, run)
    if query.from_beginning:
        return BEGINNING
    if (stored := await stored_log_of(services, job)) is not None:
        with closing(stored):
            return Cursor(job.attempt, await _stored_offset(query.tail, query.since, stored))
    if query.tail is not None:  # There may be a long way back.
        return Cursor(job.attempt, await in_thread(_offset, query.tail, None, job, run))
    return Cursor(job.attempt, _offset(None, query.since, job, run))


def _resumed(seen: str, job: Job, run: RunDirectory) -> Cursor | None:
    try:
        cursor = Cursor.parse(seen.strip())
    except ValueError as exc:
        raise _not_an_id(f"{exc}; send the last one back as it came") from exc
    if cursor.attempt > job.attempt:
        raise _not_an_id(f"it is of attempt {cursor.attempt}, and the job has not come further than {job.attempt}")
    # A reader that was cut off between the last byte of the log and the verdict gets None too: it asks for the job.
    if job.state is State.COMPLETED:
        return None if cursor >= Cursor(job.attempt, job.log_bytes or 0) else cursor
    # If the log is shorter, perhaps because the job has truncated it, the reader goes on at its end.
    return min(cursor, Cursor(job.attempt, run.log_size()))


def _not_an_id(message: str) -> InvalidRequest:
    return InvalidRequest(f"the header Last-Event-ID is not valid: {message}", FieldError(_LAST_EVENT_ID, message))


async def _stored_offset(tail: int | None, since: datetime | None, stored: StoredLog) -> int:
    if tail is not None:
        return await stored.last_lines(tail)
    start = stored.size if since is None else await stored.offset_at(since)
    return start if start == stored.size else await stored.character_start(start)


def _offset(tail: int | None, since: datetime | None, job: Job, run: RunDirectory) -> int:
    try:
        descriptor = open_regular(run.log)
    except FileNotFoundError:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        end = min(size, job.log_bytes or 0) if job.state is State.COMPLETED else shown_bytes(run, size)
        if tail is not None:
            return last_lines(descriptor, end, tail)
        start = end if since is None else min(end, LogTimes(run.times).offset_at(since))
        return start if start == end and job.state is State.COMPLETED else character_start(descriptor, start)
    finally:
        os.close(descriptor)


async def make_ticket(call: Call[NoQuery, None]) -> Response:
    job = await find_job(call)
    ticket, until = await in_thread(call.services.stream_tickets.give, job.id, call.identity)
    headers = {"Cache-Control": "no-store"}
    return Document({"ticket": ticket, "expires": until}, headers=headers)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/jobs/{job_id}",
        handler=get_job,
        query=JobQuery,
        summary="Get a job",
        description="the job; `?include=log` adds `log`, its last 64 KiB",
        answers={200: json_answer(JobWithLog, "The job.")},
        errors=(JobNotFound,),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        files=Files.SOMETIMES,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/stream",
        handler=stream_job,
        query=StreamQuery,
        headers=("Last-Event-ID",),
        summary="Follow a job",
        description=(
            "the [stream](#the-stream): by default what is new in the current attempt, or from one of "
            "`from_beginning=true` (all attempts), `tail=N` (the last N lines and what is new) and "
            "`since=<time>`. The header `Last-Event-ID` wins over them. 204 if no event will follow it. "
            "`ticket` stands for a key"
        ),
        answers={
            200: Answer("The job's stream.", {"text/event-stream": StreamEvent}, headers=("Location",)),
            204: Answer("The reader has seen the whole stream."),
        },
        errors=(JobNotFound, QuotaExceeded),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.STREAM,
        files=Files.SOMETIMES,
        takes_ticket=True,
    ),
    Endpoint(
        method="POST",
        path="/jobs/{job_id}/ticket",
        handler=make_ticket,
        summary="Get a ticket for a job's stream",
        description=(
            "for the `EventSource` of a browser, which sends no key: `ticket` opens this job's stream, as "
            "`/jobs/{id}/stream?ticket=…`, and nothing else, for a minute and as often as is needed"
        ),
        answers={200: json_answer(StreamTicketView, "The ticket.")},
        errors=(JobNotFound,),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/log",
        handler=get_job_log,
        query=LogQuery,
        headers=("Range", "If-Range"),
        summary="Get a job's log",
        description=(
            "`text/plain`: the bytes so far, as written, of the last attempt or of `attempt=N`; byte ranges "
            "(RFC 9110), for running jobs too, whose `Content-Range` ends in `/*`; `ETag` after the end of the "
            "attempt"
        ),
        answers={
            200: Answer("The log.", {_LOG_TYPE: str}, headers=("Accept-Ranges", "ETag")),
            206: Answer("A part of the log.", {_LOG_TYPE: str}, headers=("Accept-Ranges", "Content-Range", "ETag")),
            416: Answer(
                "`range_not_satisfiable`: the range begins behind the log's last byte.",
                {PROBLEM_MEDIA_TYPE: ProblemView},
                headers=("Content-Range",),
            ),
        },
        errors=(JobNotFound, AttemptNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        files=Files.SOMETIMES,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/services/{name}/log",
        handler=get_service_log,
        query=LogQuery,
        headers=("Range", "If-Range"),
        summary="Get the log of a service",
        description=(
            "`text/plain`: the last 5,000 lines, at most 1 MiB, that a service of the job has written in the last "
            "attempt or in `attempt=N`. While the job runs, they are copied every few seconds; after the end of the "
            "attempt they are complete"
        ),
        answers={
            200: Answer("The log.", {_LOG_TYPE: str}, headers=("Accept-Ranges",)),
            206: Answer("A part of the log.", {_LOG_TYPE: str}, headers=("Accept-Ranges", "Content-Range")),
            416: Answer(
                "`range_not_satisfiable`: the range begins behind the log's last byte.",
                {PROBLEM_MEDIA_TYPE: ProblemView},
                headers=("Content-Range",),
            ),
        },
        errors=(JobNotFound, AttemptNotFound, ServiceNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
    ),
)
