"""The endpoints of uploads by manifest: begin one, ask how far it is, send frames, and submit its job."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ci_common.access.identity import Identity, Scope
from ci_common.errors import (
    CacheConflict,
    DiskLow,
    InputMissing,
    InvalidUpload,
    JobNotFound,
    QueueFull,
    TooLarge,
    TooManyUploads,
    UnrecognisedProject,
    UploadBaseGone,
    UploadConflict,
    UploadNotFound,
)
from ci_common.job_types import CONTAINER
from ci_common.jobs import Job, NewJob, is_job_id, new_job_id
from ci_common.manifests.session import Session, spare_workspace
from ci_common.manifests.stored import read_head
from ci_common.parsing.values import Integer
from ci_common.quotas import QuotaExceeded
from ci_common.settings import Settings
from ci_common.spec import Name, Spec
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree
from ci_common.times import Milestone, Timeline
from ci_common.wire.answers import BegunUploadView, SubmittedView, UploadView
from ci_persistence.job_lists import JobFilter
from ci_persistence.stores.submissions import SubmissionKey
from ci_server.access.secrets import SECRET_ERRORS
from ci_server.detection.tasks import complete_with
from ci_server.endpoints import (
    KEY_HEADER,
    BytesBody,
    Call,
    Endpoint,
    Files,
    JsonBody,
    RateClass,
    Reach,
    json_answer,
)
from ci_server.http.exchange import note_job
from ci_server.http.refusals import ImageRefused, ProjectRefused
from ci_server.http.requests import NoQuery, QueryModel
from ci_server.http.responses import Document
from ci_server.jobs.connected import while_connected
from ci_server.jobs.idempotency import KEY_ERRORS, Once, submitted_once
from ci_server.jobs.job_view import submission_answers
from ci_server.jobs.submissions import admitted, client_of, read_spec, workload_job
from ci_server.services import Services
from ci_server.uploads.manifests import (
    check_received,
    limits_of,
    opened_session,
    plan_upload,
    receive_frames,
    receive_manifest,
    removed_if_refused,
    stored_uploads,
)
from ci_server.uploads.receiving import announced_bytes
from ci_server.uploads.staging import Staging

_RECENT = 6
"""So many of the newest jobs of the project are looked at for contents that need not be sent again."""
_SOURCES = 3

ReceivedSpec = tuple[Spec, dict[str, Any]]
"""The spec of a submission, and its JSON form with secrets masked."""


class BeginQuery(QueryModel):
    """What a manifest is for."""

    project: Name | None = Field(None, description="the project of the job, whose earlier uploads are used again")
    base: str | None = Field(None, max_length=100, description="the job whose upload the manifest is a change to")


class FramesQuery(QueryModel):
    """Which frames the body has."""

    frame: Annotated[Integer, Field(ge=0, le=2**53)] = Field(description="the number of the first frame in the body")


async def begin_upload(call: Call[BeginQuery, None]) -> Response:
    services, query = call.services, call.query
    project = await services.projects.project_for(call.identity, query.project) or ""
    await services.check_quotas(project or None, call.identity.name)
    announced = announced_bytes(call.request, services.settings.max_upload_bytes)
    session = Session(services.data.incoming / new_job_id())
    async with services.uploading(announced, project or None, call.identity.name):
        services.readers.expect()
        session.path.mkdir()
        try:
            await receive_manifest(call.request, session, services.unpack_limits)
            base, sources = await _base(call), await _sources(call)
            answer = await plan_upload(
                services.readers,
                session,
                owner=call.identity.name,
                project=project,
                base=base,
                sources=sources,
                more={**limits_of(services.unpack_limits), "spare": _spare(base)},
            )
        except BaseException:
            await asyncio.shield(asyncio.to_thread(delete_tree, session.path))
            raise
    return Document({"upload_id": session.path.name, "received": 0, **answer}, 201)


async def _base(call: Call[BeginQuery, None]) -> Path | None:
    base, services = call.query.base, call.services
    if base is None:
        return None
    if not is_job_id(base):
        raise UploadBaseGone("the base of the manifest is not the id of a job; send the manifest as a whole")
    if not await _is_visible(call, base):
        raise UploadBaseGone(f"job {base} is not here any more; send the manifest as a whole")
    return services.data.stored_upload(base)


async def _is_visible(call: Call[BeginQuery, None], job_id: str) -> bool:
    if call.identity.projects is None:
        return True  # Whether its upload is there is found out below.
    try:
        return call.identity.sees((await call.services.storage.jobs.get(job_id)).project)
    except JobNotFound:
        return False


def _spare(base: Path | None) -> str | None:
    return None if base is None else str(spare_workspace(base.parent))


async def _sources(call: Call[BeginQuery, None]) -> list[Path]:
    """Return the stored uploads whose packs may be used again, the base first."""
    services, query = call.services, call.query
    wanted = JobFilter(project=query.project, projects=call.identity.projects)
    recent = await services.storage.jobs.list_jobs(wanted, limit=_RECENT)
    job_ids = [job.id for job in recent if job.has_upload and job.id != query.base]
    base = [query.base] if query.base is not None else []
    return await asyncio.to_thread(stored_uploads, services.data, [*base, *job_ids[:_SOURCES]])


async def get_upload(call: Call[NoQuery, None]) -> Response:
    with opened_session(call.services.data, _id(call.request), call.identity.name) as (session, plan):
        progress = await in_thread(session.resume, plan)
    return Document({"upload_id": session.path.name, "received": progress.frames, "frames": plan.frames})


async def send_frames(call: Call[FramesQuery, None]) -> Response:
    services, request = call.services, call.request
    max_bytes = services.settings.max_upload_bytes
    with opened_session(services.data, _id(request), call.identity.name) as (session, plan):
        announced = announced_bytes(request, max_bytes)
        owner, project = call.identity.name, plan.project or None
        async with services.uploading(announced, project, owner) as place, removed_if_refused(session):
            received = await receive_frames(
                request, services.readers, session, plan, call.query.frame, place, max_bytes
            )
    return Document({"upload_id": session.path.name, "received": received, "frames": plan.frames})


async def submit_received(call: Call[NoQuery, ReceivedSpec]) -> Response:
    job_id = _id(call.request)
    note_job(call.request.scope, job_id)

    async def make(once: Once) -> Job:
        if (earlier := await once.earlier(call.body_sha256)) is not None:
            return earlier
        return await _submitted(call.services, job_id, call.identity) or await _submit(call, job_id, once.key)

    submitted = await submitted_once(call, make)
    return Document({"job_id": submitted.job.id}, submitted.status, submitted.headers)


async def _submitted(services: Services, job_id: str, identity: Identity) -> Job | None:
    """Return the job that the upload has become already: then the request has only been sent again."""
    if not is_job_id(job_id):
        return None
    try:
        job = await services.storage.jobs.get(job_id)
        head = await asyncio.to_thread(read_head, services.data.stored_upload(job_id))
    except (JobNotFound, FileNotFoundError, InvalidUpload):
        return None
    return job if head.owner == identity.name and identity.sees(job.project) else None


async def _submit(call: Call[NoQuery, ReceivedSpec], job_id: str, key: SubmissionKey | None) -> Job:
    services, (spec, masked) = call.services, call.body
    timeline = Timeline(call.accepted)
    timeline.note(Milestone.RECEIVED)
    with opened_session(services.data, job_id, call.identity.name) as (session, plan):
        owner, project = call.identity.name, plan.project or None
        async with services.uploading(0, project, owner) as place, removed_if_refused(session):
            await check_received(services.readers, session, plan, place)
            async with while_connected(call.request):
                resolved = await complete_with(
                    services.readers,
                    session,
                    spec,
                    services.settings,
                    services.unpack_limits,
                    defaults=await services.projects.defaults(call.identity, spec.project, has_file=True),
                    check_room=place.check_room,
                )
            timeline.note(Milestone.UNPACKED)
            payload = {"upload": {"size": plan.size, "sha256": plan.tree_id}, **masked}
            job = workload_job(CONTAINER, job_id, resolved, payload, upload_bytes=plan.size, arrival=timeline.times())
            job = await admitted(services, call.request, call.identity, job)
            job = replace(job, client=client_of(call.request))
            stored = await _stored(services, Staging(services.data, job_id), session, job, key)
            services.spares.want(job_id, plan)
            return stored


async def _stored(
    services: Services, staging: Staging, session: Session, job: NewJob, key: SubmissionKey | None
) -> Job:
    """Move the upload to its job's directory, and store the job. If that fails, the upload is gone."""
    try:
        await in_thread(session.finish)
        stored = await staging.commit(services.store_job, job, key)
    finally:
        if staging.committed:
            staging.confirm()
        else:
            await asyncio.shield(asyncio.to_thread(staging.remove))
    return stored


def _id(request: Request) -> str:
    return str(request.path_params["upload_id"])


def _parsed_spec(raw: bytes, _settings: Settings, _accepted: Mapping[str, int], /) -> ReceivedSpec:
    return read_spec(raw, source="the body")


_NO_JOB_YET: Final = "what is uploaded belongs to no job yet; the submission that it ends in is recorded"

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/uploads",
        handler=begin_upload,
        unaudited=_NO_JOB_YET,
        query=BeginQuery,
        body=BytesBody("application/zstd", "A manifest, or a change to one, as lines of text in one zstd frame."),
        summary="Begin an upload by manifest",
        description=(
            "a [manifest](uploads.md#the-manifest), or with `base` a change to that of an earlier job; 201 with "
            "`upload_id`, and in `missing` which of its files have to be sent, as ranges of places in the manifest"
        ),
        answers={201: json_answer(BegunUploadView, "The upload has begun.")},
        errors=(
            InvalidUpload,
            UploadBaseGone,
            TooLarge,
            QueueFull,
            QuotaExceeded,
            TooManyUploads,
            DiskLow,
            ProjectRefused,
        ),
        scope=Scope.JOBS_WRITE,
        limits=Reach.NEW,
        rate_class=RateClass.SUBMIT,
        files=Files.ALWAYS,
    ),
    Endpoint(
        method="GET",
        path="/uploads/{upload_id}",
        handler=get_upload,
        summary="Get how far an upload is",
        description="how many of the upload's frames have been `received`: the number of the next one to send",
        answers={200: json_answer(UploadView, "How far it is.")},
        errors=(UploadNotFound, UploadConflict),
        scope=Scope.JOBS_WRITE,
        limits=Reach.OWN,
        rate_class=RateClass.READ,
        files=Files.ALWAYS,
    ),
    Endpoint(
        method="PATCH",
        path="/uploads/{upload_id}",
        handler=send_frames,
        unaudited=_NO_JOB_YET,
        query=FramesQuery,
        body=BytesBody("application/vnd.ci-server.frames", "Frames, each with its length before it.", required=False),
        summary="Send what the server lacks",
        description=(
            "[frames](uploads.md#the-frames) from number `frame` on; those that arrive as a whole are kept if the "
            "connection breaks. 409 if that is not the next one"
        ),
        answers={200: json_answer(UploadView, "They have been received and checked.")},
        errors=(
            InvalidUpload,
            UploadNotFound,
            UploadConflict,
            TooLarge,
            QueueFull,
            QuotaExceeded,
            TooManyUploads,
            DiskLow,
        ),
        scope=Scope.JOBS_WRITE,
        limits=Reach.OWN,
        rate_class=RateClass.SUBMIT,
        files=Files.ALWAYS,
    ),
    Endpoint(
        method="POST",
        path="/uploads/{upload_id}/submit",
        handler=submit_received,
        body=JsonBody(lambda: Spec, _parsed_spec),
        summary="Run an upload that is complete",
        description=(
            'a [spec](ci-yaml.md) as JSON, `{}` for none; 202 `{"job_id": …}` and `Location`. The job has the id of '
            "the upload, so that the request can be sent again"
        ),
        headers=(KEY_HEADER,),
        answers=submission_answers("The job is queued.", SubmittedView),
        errors=(
            InvalidUpload,
            UnrecognisedProject,
            InputMissing,
            CacheConflict,
            *SECRET_ERRORS,
            UploadNotFound,
            UploadConflict,
            *KEY_ERRORS,
            TooLarge,
            QueueFull,
            QuotaExceeded,
            TooManyUploads,
            DiskLow,
            ProjectRefused,
            ImageRefused,
        ),
        scope=Scope.JOBS_WRITE,
        limits=Reach.OWN,
        rate_class=RateClass.SUBMIT,
        files=Files.ALWAYS,
    ),
)
