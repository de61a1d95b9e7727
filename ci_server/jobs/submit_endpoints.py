"""The endpoints that make jobs: uploads, JSON bodies and retries."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.errors import (
    CacheConflict,
    DiskLow,
    InputMissing,
    InvalidUpload,
    JobNotFound,
    NotRetryable,
    NotVerifiable,
    QueueFull,
    TooLarge,
    TooManyUploads,
    UnrecognisedProject,
)
from ci_common.jobs import Job, NewJob
from ci_common.parsing.models import validated
from ci_common.quotas import QuotaExceeded
from ci_common.settings import Settings
from ci_common.wire.answers import SubmittedView
from ci_common.wire.changes import RetryChanges
from ci_common.wire.live.events import StreamEvent
from ci_common.wire.stream import BEGINNING
from ci_persistence.stores.submissions import SubmissionKey
from ci_server.access.projects import only_project
from ci_server.access.secrets import SECRET_ERRORS
from ci_server.endpoints import KEY_HEADER, Answer, Call, Endpoint, Files, JsonBody, RateClass, Reach, UploadBody
from ci_server.http.refusals import ImageRefused, ProjectRefused
from ci_server.http.requests import NoQuery, as_written, parse_json_object
from ci_server.http.responses import Document
from ci_server.jobs.idempotency import KEY_ERRORS, REPLAYED_HEADER, Once, Submitted, submitted_once
from ci_server.jobs.job_view import JOB_HEADERS, find_job, stream_of, submission_answers, submitted_job
from ci_server.jobs.submissions import RequestedJob, StoreJob, requested_job, retry, submit_new, submit_upload
from ci_server.jobs.verifications import verify
from ci_server.openapi.requests import UploadForm, job_request_type


async def submit(call: Call[NoQuery, None]) -> Response:
    return await _submit_and_stream(call, announce=False)


async def submit_stream(call: Call[NoQuery, None]) -> Response:
    return await _submit_and_stream(call, announce=True)


async def _submit_and_stream(call: Call[NoQuery, None], *, announce: bool) -> Response:
    services, sender = call.services, call.identity
    await services.check_streams(only_project(sender), sender)

    async def store(job: NewJob, key: SubmissionKey | None) -> Job:
        await services.take_stream(call.request, job.project, sender)  # Else there would be a job without an answer.
        return await services.store_job(job, key)

    submitted = await _submitted(call, store)
    stream = await stream_of(call, submitted.job, BEGINNING, announce=announce)
    stream.headers.update(submitted.headers)
    return stream


async def submit_async(call: Call[NoQuery, None]) -> Response:
    submitted = await _submitted(call, call.services.store_job)
    return Document({"job_id": submitted.job.id}, submitted.status, submitted.headers)


async def _submitted(call: Call[NoQuery, None], store: StoreJob) -> Submitted:
    async def make(once: Once) -> Job:
        return await submit_upload(call.services, call.request, call.identity, call.accepted, once, store)

    return await submitted_once(call, make)


async def submit_job(call: Call[NoQuery, RequestedJob]) -> Response:
    async def make(once: Once) -> Job:
        earlier = await once.earlier(call.body_sha256)
        return earlier or await submit_new(call.services, call.request, call.identity, call.body, once.key)

    return await submitted_job(call.services, await submitted_once(call, make))


async def retry_job(call: Call[NoQuery, RetryChanges]) -> Response:
    job = await find_job(call)

    async def make(once: Once) -> Job:
        earlier = await once.earlier(call.body_sha256)
        return earlier or await retry(call.services, call.request, call.identity, job, call.body, once.key)

    return await submitted_job(call.services, await submitted_once(call, make))


def _changes(raw: bytes, _settings: Settings, _accepted: Mapping[str, int], /) -> RetryChanges:
    body = parse_json_object(raw, source="the body")
    return validated(RetryChanges, as_written(body, raw), source="the body")


async def verify_job(call: Call[NoQuery, None]) -> Response:
    job = await find_job(call)

    async def make(once: Once) -> Job:
        return await once.earlier() or await verify(call.services, call.request, job, once.key)

    return await submitted_job(call.services, await submitted_once(call, make))


_UPLOAD_ERRORS = (
    *(InvalidUpload, UnrecognisedProject, InputMissing, CacheConflict, *SECRET_ERRORS),
    *(TooLarge, QueueFull, QuotaExceeded, TooManyUploads, DiskLow, ProjectRefused, ImageRefused, *KEY_ERRORS),
)
_STREAM = Answer(
    "The stream of the new job, or of the one that the same submission made before.",
    {"text/event-stream": StreamEvent},
    headers=(*JOB_HEADERS, REPLAYED_HEADER),
)
_UPLOAD: dict[str, Any] = {
    "method": "POST",
    "body": UploadBody(UploadForm),
    "headers": (KEY_HEADER,),
    "errors": _UPLOAD_ERRORS,
    "scope": Scope.JOBS_WRITE,
    "limits": Reach.NEW,
    "rate_class": RateClass.SUBMIT,
    "files": Files.ALWAYS,
}

ENDPOINTS: Final = (
    Endpoint(
        path="/submit",
        handler=submit,
        summary="Upload a project and follow its job",
        description=(
            "`multipart/form-data` with `file` (a zip archive) and optionally `spec` (JSON, see "
            "[ci.yaml](ci-yaml.md)); 200 `text/event-stream`: the [stream](#the-stream) of the job from its "
            "beginning; `Location` names the job"
        ),
        answers={200: _STREAM},
        **_UPLOAD,
    ),
    Endpoint(
        path="/submit-stream",
        handler=submit_stream,
        summary="Upload a project and follow its job, with the job's id first",
        description=("the same, with `job_id` as the first event"),
        answers={200: _STREAM},
        **_UPLOAD,
    ),
    Endpoint(
        path="/submit-async",
        handler=submit_async,
        summary="Upload a project",
        description=('the same form; 202 `{"job_id": …}` and `Location`'),
        answers=submission_answers("The job is queued.", SubmittedView),
        **_UPLOAD,
    ),
    Endpoint(
        method="POST",
        path="/jobs",
        handler=submit_job,
        body=JsonBody(
            job_request_type,
            requested_job,
            examples={
                "command": {
                    "image": "python:3.12-slim",
                    "command": ["python", "-c", "print(6 * 7)"],
                    "labels": {"team": "a"},
                },
                "echo": {"type": "echo", "payload": {"greeting": "hello"}},
            },
        ),
        summary="Submit a job without an upload",
        description=(
            "a JSON object, with any `Content-Type`; see [jobs without an upload](#jobs-without-an-upload); "
            "202 the job and `Location`"
        ),
        headers=(KEY_HEADER,),
        answers=submission_answers("The job is queued."),
        errors=(
            *(CacheConflict, *SECRET_ERRORS, TooLarge, QueueFull, QuotaExceeded, DiskLow),
            *(ProjectRefused, ImageRefused, *KEY_ERRORS),
        ),
        scope=Scope.JOBS_WRITE,
        limits=Reach.NEW,
        rate_class=RateClass.SUBMIT,
    ),
    Endpoint(
        method="POST",
        path="/jobs/{job_id}/retry",
        handler=retry_job,
        body=JsonBody(
            lambda: RetryChanges,
            _changes,
            examples={"longer": {"timeout": "30m", "env": {"VERBOSE": "1"}}},
            required=False,
        ),
        summary="Run a completed job again",
        description=(
            "202 a new job with the same upload and plan, `retry_of` set; `ci.yaml` and defaults are not read "
            "again. A JSON object, which may be left out, has what is to be different: `image`, `command`, `steps`, "
            "`env`, `timeout`, `no_output_timeout`, `stop_grace`, `limits`, `retry`, `network`, `priority`, `project`, "
            "`labels`, `fresh`. 409 if the job has not completed, if it lacks what is to change, as a "
            "computed job lacks an image, or if its upload has been deleted (`CI_UPLOAD_RETENTION`): submit the "
            "project again"
        ),
        headers=(KEY_HEADER,),
        answers=submission_answers("The new job."),
        errors=(
            JobNotFound,
            NotRetryable,
            *SECRET_ERRORS,
            TooLarge,
            QueueFull,
            QuotaExceeded,
            TooManyUploads,
            DiskLow,
            ProjectRefused,
            ImageRefused,
            *KEY_ERRORS,
        ),
        scope=Scope.JOBS_WRITE,
        rate_class=RateClass.SUBMIT,
        files=Files.SOMETIMES,
    ),
    Endpoint(
        method="POST",
        path="/jobs/{job_id}/verify",
        handler=verify_job,
        summary="Run the setup of a job once more, and compare the outcome",
        description=(
            "202 a new job that runs the setup of this one with its inputs alone, and whose `result` says whether it "
            "has made the same as the [prepared environment](environments.md#does-it-depend-on-its-inputs-alone). 409 "
            "if the job has no setup, or if its upload has been deleted (`CI_UPLOAD_RETENTION`)"
        ),
        headers=(KEY_HEADER,),
        answers=submission_answers("The new job."),
        errors=(
            JobNotFound,
            NotVerifiable,
            InvalidUpload,
            TooLarge,
            QueueFull,
            TooManyUploads,
            DiskLow,
            ImageRefused,
            *KEY_ERRORS,
        ),
        scope=Scope.JOBS_WRITE,
        rate_class=RateClass.SUBMIT,
        files=Files.ALWAYS,
    ),
)
