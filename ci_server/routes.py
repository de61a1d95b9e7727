"""The endpoints, each a few lines: read the request, ask the right room, show the answer."""

import os
from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ci_common.errors import JobNotFound
from ci_common.jobs import Job, State, is_job_id
from ci_common.parsing.models import validated
from ci_common.parsing.text import shown
from ci_common.parsing.values import Integer
from ci_common.run_directory.layout import open_regular
from ci_common.stream import BEGINNING, Cursor
from ci_common.times import utc_now
from ci_common.wire import CleanupRequest, pool_on_wire
from ci_server.http.front_page import front_page
from ci_server.http.json_responses import Document, list_document
from ci_server.http.ranges import ranged_response
from ci_server.http.request_reading import NoQuery, apart, read_json_object, read_query
from ci_server.jobs.deletion import clean_up, delete_or_cancel
from ci_server.jobs.job_view import attempt_of, job_document, job_documents, log_excerpt
from ci_server.jobs.listing import next_link, read_list_query
from ci_server.jobs.starting_points import starting_point
from ci_server.jobs.submissions import retry, submit_body, submit_upload
from ci_server.metrics.answer import metrics_answer
from ci_server.readiness import readiness
from ci_server.services import Services, services_of
from ci_server.streaming.streams import JobStream


class JobQuery(BaseModel):
    """What `GET /jobs/{id}` may be asked."""

    model_config = ConfigDict(extra="forbid")
    include: Literal["log"] | None = None


class LogQuery(BaseModel):
    """What `GET /jobs/{id}/log` may be asked."""

    model_config = ConfigDict(extra="forbid")
    attempt: Integer | None = Field(None, ge=1)


async def submit(request: Request) -> Response:
    return await _submit_and_stream(request, announce=False)


async def submit_stream(request: Request) -> Response:
    return await _submit_and_stream(request, announce=True)


async def submit_async(request: Request) -> Response:
    read_query(request, NoQuery)
    job = await submit_upload(services_of(request), request)
    return Document({"job_id": job.id}, 202, _location(job))


async def submit_job(request: Request) -> Response:
    read_query(request, NoQuery)
    services = services_of(request)
    job, size = await submit_body(services, request)
    return await apart(size, _accepted, services, job)


async def list_jobs(request: Request) -> Response:
    query = read_list_query(request)
    services = services_of(request)
    found = await services.repository.list_jobs(query.to_filter(), limit=query.limit + 1, older_than=query.cursor)
    jobs = found[: query.limit]
    headers = {"Link": next_link(request, jobs[-1])} if len(found) > len(jobs) else {}
    return await list_document(job_documents(services, jobs), headers)


async def get_job(request: Request) -> Response:
    query = read_query(request, JobQuery)
    services, job = await _job_of(request)
    document = job_document(services, job)
    if query.include == "log":
        document["log"] = log_excerpt(services, job)
        if job.state is State.COMPLETED:
            await services.repository.get(job.id)  # Its log goes when it is deleted: then it is not found.
    return Document(document)


async def stream_job(request: Request) -> Response:
    services, job = await _job_of(request)
    start = starting_point(request, job, services.run_of(job))
    return Response(status_code=204) if start is None else _stream(services, job, start)


async def get_log(request: Request) -> Response:
    query = read_query(request, LogQuery)
    services, job = await _job_of(request)
    if query.attempt is not None:
        job = attempt_of(job, query.attempt)
    completed = job.state is State.COMPLETED
    headers = {"Cache-Control": "no-cache"}
    if completed and job.log_sha256:
        headers["ETag"] = f'"{job.log_sha256}"'
    try:
        descriptor = open_regular(services.run_of(job).log)
    except FileNotFoundError:
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    size = os.fstat(descriptor).st_size
    if completed and size < (job.log_bytes or 0):
        await services.repository.get(job.id)  # Its log goes when it is deleted: then it is not found.
    if completed:
        size = min(size, job.log_bytes or 0)
    return ranged_response(
        request, descriptor, size, media_type="text/plain; charset=utf-8", headers=headers, growing=not completed
    )


async def cancel_job(request: Request) -> Response:
    read_query(request, NoQuery)
    services, job = await _job_of(request)
    return _accepted(services, await services.repository.request_cancel(job.id, utc_now()))


async def delete_job(request: Request) -> Response:
    read_query(request, NoQuery)
    services, job = await _job_of(request)
    cancelled = await delete_or_cancel(services, job)
    return Response(status_code=204) if cancelled is None else _accepted(services, cancelled)


async def clean_up_jobs(request: Request) -> Response:
    read_query(request, NoQuery)
    wanted = validated(CleanupRequest, await read_json_object(request), source="the body")
    job_ids, more = await clean_up(services_of(request), wanted)
    return Document({"deleted": 0 if wanted.dry_run else len(job_ids), "job_ids": job_ids, "more": more})


async def get_cleanup(request: Request) -> Response:
    read_query(request, NoQuery)
    return Document({"pending": await services_of(request).retention.count_removals()})


async def get_pool(request: Request) -> Response:
    read_query(request, NoQuery)
    return Document(pool_on_wire(await services_of(request).repository.pool()))


async def retry_job(request: Request) -> Response:
    read_query(request, NoQuery)
    services, job = await _job_of(request)
    return _accepted(services, await retry(services, request, job))


async def get_metrics(request: Request) -> Response:
    read_query(request, NoQuery)
    return await metrics_answer(services_of(request), request)


async def root(request: Request) -> Response:
    read_query(request, NoQuery)
    return front_page(request)


async def health(request: Request) -> Response:
    read_query(request, NoQuery)
    return Document({"status": "ok"})


async def ready(request: Request) -> Response:
    read_query(request, NoQuery)
    return await readiness(services_of(request))


async def _submit_and_stream(request: Request, *, announce: bool) -> Response:
    read_query(request, NoQuery)
    services = services_of(request)
    return _stream(services, await submit_upload(services, request), BEGINNING, announce=announce)


def _stream(services: Services, job: Job, start: Cursor, *, announce: bool = False) -> Response:
    return JobStream(services.tails, job, start, announce=announce)


async def _job_of(request: Request) -> tuple[Services, Job]:
    services = services_of(request)
    job_id = request.path_params["job_id"]
    if not is_job_id(job_id):
        raise JobNotFound(f"there is no job {shown(job_id)}")
    return services, await services.repository.get(job_id)


def _accepted(services: Services, job: Job) -> Response:
    return Document(job_document(services, job), 202, _location(job))


def _location(job: Job) -> dict[str, str]:
    return {"Location": f"/jobs/{job.id}"}


class _Endpoint:
    """An endpoint as an application of its own: what it raises is the boundary's, without a layer in between."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)


def _route(path: str, answer: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    return Route(path, _Endpoint(answer), methods=[method])


ROUTES = [
    _route("/jobs", submit_job, "POST"),  # First, as routes are tried in their order.
    _route("/submit", submit, "POST"),
    _route("/submit-stream", submit_stream, "POST"),
    _route("/submit-async", submit_async, "POST"),
    _route("/jobs", list_jobs, "GET"),
    _route("/jobs/cleanup", clean_up_jobs, "POST"),
    _route("/jobs/cleanup", get_cleanup, "GET"),
    _route("/jobs/{job_id}", get_job, "GET"),
    _route("/jobs/{job_id}", delete_job, "DELETE"),
    _route("/jobs/{job_id}/stream", stream_job, "GET"),
    _route("/jobs/{job_id}/log", get_log, "GET"),
    _route("/jobs/{job_id}/cancel", cancel_job, "POST"),
    _route("/jobs/{job_id}/retry", retry_job, "POST"),
    _route("/", root, "GET"),
    _route("/metrics", get_metrics, "GET"),
    _route("/pool", get_pool, "GET"),
    _route("/health", health, "GET"),
    _route("/ready", ready, "GET"),
]
