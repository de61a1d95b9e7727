"""Where lines and steps begin in a log, and when its bytes were written, so that a view can open at any of them."""

from hashlib import sha256
from typing import Any, Final

from pydantic import Field
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.attempts.parts import StepResult
from ci_common.errors import AttemptNotFound, JobNotFound
from ci_common.jobs import Job, State
from ci_common.parsing.values import Integer
from ci_common.run_directory.output import LogTimes, live_steps
from ci_common.system.tasks import in_thread
from ci_common.times import to_rfc3339
from ci_common.wire.results.index_answers import LogIndexView, LogTimesView
from ci_common.wire.writing import step_on_wire
from ci_server.endpoints import Answer, Call, Endpoint, Files, RateClass, json_answer
from ci_server.http.ranges import knows
from ci_server.http.requests import QueryModel
from ci_server.http.responses import Document
from ci_server.jobs.job_view import attempt_of, find_job, open_log, shown_log, stored_log_of
from ci_server.services import Services
from ci_server.streaming.line_index import EVERY
from ci_server.streaming.line_indexes import FileBytes, KnownLines, LogBytes, StoredBytes

PATIENCE: Final = 0.3
"""Seconds after which an answer has as much of the index as there is."""
MOST_OFFSETS: Final = 20_000
_MOST_LINES: Final = 10**12
MOST_TIMES: Final = 1_000
_MOST_BYTES: Final = 10**18


class IndexQuery(QueryModel):
    """What `GET /jobs/{id}/log/index` may be asked."""

    attempt: Integer | None = Field(None, ge=1, description="which attempt's log; by default the last one's")
    every: Integer = Field(EVERY, ge=EVERY, le=1_000_000, multiple_of=EVERY, description="of so many lines, one")
    from_line: Integer = Field(1, ge=1, le=_MOST_LINES, description="only lines from this one on, counted from 1")


class TimesQuery(QueryModel):
    """What `GET /jobs/{id}/log/times` may be asked."""

    attempt: Integer | None = Field(None, ge=1, description="which attempt's log; by default the last one's")
    start: Integer = Field(0, ge=0, le=_MOST_BYTES, description="bytes of the log from this one on")
    end: Integer | None = Field(None, ge=0, le=_MOST_BYTES, description="bytes before this one; by default all")


async def get_log_index(call: Call[IndexQuery, None]) -> Response:
    query, job = call.query, await find_job(call)
    if query.attempt is not None:
        job = attempt_of(job, query.attempt)
    log = await _open(call.services, job)
    try:
        known = await call.services.line_indexes.find((job.id, job.attempt), log, PATIENCE)
        document = await _document(query, job, known, log, live_steps(job, call.services.data.run_of(job)))
    finally:
        log.close()
    answer = Document(document, headers={"Cache-Control": "no-cache"})
    answer.headers["ETag"] = etag = f'"{sha256(answer.body).hexdigest()[:32]}"'
    if knows(call.request, etag):
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": "no-cache"})
    return answer


async def get_log_times(call: Call[TimesQuery, None]) -> Response:
    query, job = call.query, await find_job(call)
    if query.attempt is not None:
        job = attempt_of(job, query.attempt)
    end = _MOST_BYTES if query.end is None else query.end
    if (stored := await stored_log_of(call.services, job)) is not None:
        try:
            spans = await stored.spans(query.start, end, MOST_TIMES)
        finally:
            stored.close()
    else:
        times = LogTimes(call.services.data.run_of(job).times)
        spans = await in_thread(times.spans, query.start, end, MOST_TIMES)
    return Document(
        {
            "attempt": job.attempt,
            "start": query.start,
            "end": min(end, spans[-1].end) if spans else query.start,
            "times": [{"offset": span.start, "time": to_rfc3339(span.instant)} for span in spans],
        },
        headers={"Cache-Control": "no-cache"},
    )


async def _open(services: Services, job: Job) -> LogBytes:
    """Open the log, wherever it is, or nothing. Raises FilesElsewhere, StoreUnavailable, LogLost, JobNotFound."""
    if (stored := await stored_log_of(services, job)) is not None:
        return StoredBytes(stored)
    descriptor, whole = await open_log(services, job)
    if job.state is State.COMPLETED:
        return FileBytes(descriptor, min(whole, job.log_bytes or 0), whole)
    return FileBytes(descriptor, (await shown_log(services, job, services.data.run_of(job), descriptor)).size, whole)


async def _document(
    query: IndexQuery, job: Job, known: KnownLines, log: LogBytes, steps: tuple[StepResult, ...]
) -> dict[str, Any]:
    extent = known.extent
    first = -(-(query.from_line - 1) // query.every) * query.every + 1
    size, has_ended = max(log.size, extent.size), job.state is State.COMPLETED
    ends = [min(step.log_offset, size) for step in steps[1:]]
    ends += [size] * (len(steps) > 0)
    shown = []
    for number, (step, end) in enumerate(zip(steps, ends, strict=True)):
        is_open = not has_ended and step.end_time is None and number == len(steps) - 1
        shown.append(await _step(step, max(step.log_offset, end), is_open, known, log))
    return {
        "attempt": job.attempt,
        "log_bytes": size,
        "indexed_bytes": extent.size,
        "lines": extent.lines,
        "complete": has_ended and extent.size == size,
        "every": query.every,
        "first_line": first,
        "offsets": known.index.offsets(extent, first, query.every, MOST_OFFSETS),
        "steps": shown,
    }


async def _step(step: StepResult, end: int, is_open: bool, known: KnownLines, log: LogBytes) -> dict[str, Any]:
    """Return a step as `LogStepView` has it; its output, so far, ends before the byte `end`."""
    start, covered = step.log_offset, known.extent.size
    has_written = start < end <= covered
    took = None if step.end_time is None else (step.end_time - step.start_time).total_seconds()
    return {
        **step_on_wire(step),
        "seconds": took,
        "end_offset": None if is_open else end,
        "start_line": await known.line_at(start, log) if start <= covered else None,
        "end_line": await known.line_at(end - 1, log) if has_written else None,
    }


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/log/index",
        handler=get_log_index,
        query=IndexQuery,
        headers=("If-None-Match",),
        summary="Get where the lines of a job's log begin",
        description=(
            "the byte offset of every 1,000th line and of every step, so that a view of a large log can open anywhere: "
            "[the index](#the-index-of-a-log). `every=10000` for fewer lines, `from_line=N` for what is new, "
            "`attempt=N`; of running jobs too; `ETag`"
        ),
        answers={
            200: json_answer(LogIndexView, "The index.", headers=("ETag",)),
            304: Answer("The client has it already (`If-None-Match`).", headers=("ETag",)),
        },
        errors=(JobNotFound, AttemptNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        files=Files.SOMETIMES,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/log/times",
        handler=get_log_times,
        query=TimesQuery,
        summary="Get when the lines of a job's log were written",
        description=(
            "when the bytes from `start` up to `end` were first seen, to a tenth of a second: `times`, each with the "
            "first of the bytes that it holds for; at most 1,000 of them, up to the `end` that the answer names. "
            "`attempt=N`; of running jobs too"
        ),
        answers={200: json_answer(LogTimesView, "The times.")},
        errors=(JobNotFound, AttemptNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        files=Files.SOMETIMES,
    ),
)
