"""Turns requests into stored jobs: uploads, bodies of `POST /jobs`, and retries."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request

from ci_common.access.identity import Identity
from ci_common.archives.tasks import unpack_with
from ci_common.attempts.outcomes import Client
from ci_common.errors import FieldError, InvalidRequest, NotRetryable
from ci_common.job_types import CONTAINER, JobType, Workload, check_payload, requested_type
from ci_common.jobs import Job, NewJob, State, new_job_id
from ci_common.manifests.tasks import fill_with
from ci_common.parsing.models import invalid, validated
from ci_common.parsing.text import printable
from ci_common.quotas import Quota
from ci_common.redaction import masked_spec
from ci_common.settings import Settings
from ci_common.spec import Spec
from ci_common.times import Milestone, Timeline, utc_now
from ci_common.wire.changes import RetryChanges
from ci_common.wire.requests import ComputedJobRequest
from ci_persistence.stores.submissions import SubmissionKey
from ci_server.access.projects import only_project
from ci_server.access.secrets import with_secrets
from ci_server.detection.projects import ProjectDefaults, Resolved, resolve_command
from ci_server.detection.tasks import read_with
from ci_server.endpoints import RateClass
from ci_server.http.exchange import note_job
from ci_server.http.requests import as_written, parse_json_object, run_apart
from ci_server.jobs.changes import changed
from ci_server.jobs.connected import while_connected
from ci_server.jobs.idempotency import Once
from ci_server.jobs.verifications import is_verification
from ci_server.services import Services
from ci_server.uploads.receiving import announced_bytes, least_bytes, receive_upload
from ci_server.uploads.staging import staged

_LONGEST_AGENT = 300

StoreJob = Callable[[NewJob, SubmissionKey | None], Awaitable[Job]]
"""Stores a new job with the key of its submission; see `Services.store_job`."""


async def submit_upload(
    services: Services, request: Request, sender: Identity, accepted: Mapping[str, int], once: Once, store: StoreJob
) -> Job:
    """Receive, unpack and resolve an uploaded project, and `store` its job for `sender`, or return the one it has made.

    Raises RequestError, AlreadySubmitted, OSError.
    """
    timeline = Timeline(accepted)
    max_bytes, job_id = services.settings.max_upload_bytes, new_job_id()
    announced = announced_bytes(request, max_bytes)
    known = only_project(sender)
    await services.check_quotas(known, sender.name, least_bytes(announced))
    async with services.uploading(announced, known, sender.name) as place, staged(services.data, job_id) as staging:
        services.readers.expect()
        upload = await receive_upload(request, staging.upload, max_bytes, on_written=place.count)
        timeline.note(Milestone.RECEIVED)
        raw = b"{}" if upload.spec is None else upload.spec
        if (earlier := await once.earlier(upload.sha256, raw)) is not None:
            return earlier
        spec, masked = await run_apart(len(raw), read_spec, raw, source="the field spec")
        if spec.project is not None:
            # Refused before the archive is unpacked.
            await services.projects.project_for(sender, spec.project)
            await services.check_quotas(spec.project, sender.name, upload.size)
        defaults = await services.projects.defaults(sender, spec.project, has_file=True)
        named = spec.project if known is None else None
        async with services.places.taken(Quota.UPLOADS, named, None), while_connected(request):
            resolved = await staging.fill(
                lambda upload, workspace: read_with(
                    services.readers,
                    upload,
                    workspace,
                    spec,
                    services.settings,
                    services.unpack_limits,
                    defaults=defaults,
                    check_room=place.check_room,
                )
            )
        described = {"filename": upload.filename, "size": upload.size, "sha256": upload.sha256}
        timeline.note(Milestone.UNPACKED)
        payload = {"upload": described, **masked}
        job = workload_job(CONTAINER, job_id, resolved, payload, upload_bytes=upload.size, arrival=timeline.times())
        note_job(request.scope, job_id)
        job = replace(await admitted(services, request, sender, job), client=client_of(request))
        return await staging.commit(store, job, once.key)


@dataclass(frozen=True, slots=True)
class RequestedJob:
    """What the body of `POST /jobs` asks for."""

    project: str | None
    resolved: Callable[[ProjectDefaults], NewJob]
    """Returns the job, with the defaults of its project. Raises InvalidRequest."""
    body_bytes: int


async def submit_new(
    services: Services, request: Request, sender: Identity, wanted: RequestedJob, key: SubmissionKey | None
) -> Job:
    """Store a job without an upload for `sender`.

    Raises RequestError, AlreadySubmitted.
    """
    defaults = await services.projects.defaults(sender, wanted.project, has_file=False)
    job = await run_apart(wanted.body_bytes, wanted.resolved, defaults)
    job = await admitted(services, request, sender, job)
    services.admission.check()
    note_job(request.scope, job.id)
    job = replace(job, client=client_of(request))
    return await services.store_job(job, key)


async def admitted(services: Services, request: Request, sender: Identity, job: NewJob) -> NewJob:
    """Return a new job as one of `sender`, counted in its project, with the secrets that it is given.

    Raises ProjectRefused, ImageRefused, ScopeMissing, SecretMissing, SecretInPayload, RateLimited, Unavailable.
    """
    job = await services.projects.admitted(sender, job)
    job = await with_secrets(job, sender, services.storage.secrets, services.settings)
    services.rates.count_project(request, sender, job.project, RateClass.SUBMIT)
    return job


def client_of(request: Request) -> Client:
    """Return where a request came from, as far as it says so."""
    agent = request.headers.get("user-agent", "")[:_LONGEST_AGENT]
    shown = "".join(character for character in agent if character.isprintable())
    return Client(request.client.host if request.client else None, shown or None)


async def retry(
    services: Services,
    request: Request,
    sender: Identity,
    job: Job,
    changes: RetryChanges,
    key: SubmissionKey | None,
) -> Job:
    """Store a new job for `sender`, with the upload of a completed one, and its plan but for `changes`.

    Raises NotRetryable, ProjectRefused, RequestError, AlreadySubmitted, OSError.
    """
    timeline = Timeline()
    timeline.note(Milestone.ACCEPTED)
    if job.state is not State.COMPLETED:
        raise NotRetryable(f"job {job.id} has not completed; wait for its end or cancel it first")
    if is_verification(job):
        raise NotRetryable(f"job {job.id} verifies a setup; verify job {job.payload['verifies']} once more instead")
    again = NewJob(
        id=new_job_id(),
        type=job.type,
        submit_time=utc_now(),
        owner=sender.name,
        payload=job.payload,
        plan=job.plan,
        image=job.image,
        has_upload=job.has_upload,
        upload_bytes=job.upload_bytes,
        priority=job.priority,
        project=job.project,
        labels=job.labels,
        max_attempts=job.max_attempts,
        retry_of=job.id,
        concurrency_group=job.concurrency_group,
        cancel_running=job.cancel_running,
        client=client_of(request),
        arrival=timeline.times(),
    )
    again = await admitted(services, request, sender, changed(again, changes, services.settings))
    note_job(request.scope, again.id)
    if not job.has_upload:
        services.admission.check()
        return await services.store_job(again, key)
    services.require_files()
    async with (
        services.uploading(0, again.project, sender.name) as place,
        staged(services.data, again.id) as staging,
    ):
        try:
            by_manifest = await asyncio.to_thread(staging.link_upload, services.data, job.id)
        except FileNotFoundError as exc:
            await services.storage.jobs.get(job.id)  # The upload goes when the job is deleted: then it is not found.
            raise NotRetryable(
                f"what was uploaded for job {job.id} is not kept any longer (CI_UPLOAD_RETENTION); "
                "submit the project again"
            ) from exc
        async with while_connected(request):
            if by_manifest:
                staging.workspace.mkdir(parents=True)
                await fill_with(services.readers, staging.stored_upload, staging.workspace, check_room=place.check_room)
            else:
                await staging.fill(
                    lambda upload, workspace: unpack_with(
                        services.readers, upload, workspace, services.unpack_limits, check_room=place.check_room
                    )
                )
        timeline.note(Milestone.UNPACKED)
        again = replace(again, arrival=timeline.times())
        return await staging.commit(services.store_job, again, key)


def read_spec(raw: bytes, *, source: str) -> tuple[Spec, dict[str, Any]]:
    """Return the spec of an upload, and its JSON form with secrets masked. Raises InvalidRequest, naming the source."""
    wanted = parse_json_object(raw, source=source)
    return validated(Spec, as_written(wanted, raw), source=source), masked_spec(wanted)


def requested_job(raw: bytes, settings: Settings, accepted: Mapping[str, int]) -> RequestedJob:
    """Return what the body of `POST /jobs` asks for. Raises InvalidRequest."""
    body = parse_json_object(raw, source="the body")
    job_type = requested_type(body.get("type", CONTAINER.name), source="the body")
    if not isinstance(job_type.carried_out_by, Workload):
        job = _computed_job(job_type, body, dict(accepted))
        return RequestedJob(job.project, lambda _defaults: job, len(raw))
    spec, masked = _requested_spec(job_type, body, raw)

    def resolved(defaults: ProjectDefaults) -> NewJob:
        found = resolve_command(spec, settings, defaults)
        return workload_job(job_type, new_job_id(), found, masked, arrival=dict(accepted))

    return RequestedJob(spec.project, resolved, len(raw))


def _requested_spec(job_type: JobType[Spec, Any], body: dict[str, Any], raw: bytes) -> tuple[Spec, dict[str, Any]]:
    """Return the spec of a body with its fields beside `type`, below `payload`, or in both places; and it masked."""
    outer = {name: value for name, value in body.items() if name not in ("type", "payload")}
    inner = body.get("payload", {})
    if not isinstance(inner, dict):
        raise _invalid_field("payload", "it is not an object")
    for name in inner.keys() & outer.keys():
        raise _invalid_field(printable(name), "given both at the top and in payload")
    try:
        spec = validated(job_type.payload, as_written(outer | inner, raw), source="the body")
    except InvalidRequest as exc:
        raise InvalidRequest(
            str(exc),
            *(FieldError(f"payload.{e.path}" if e.path.partition(".")[0] in inner else e.path, e.message)
              for e in exc.errors),
        ) from exc  # fmt: skip
    return spec, masked_spec(outer | inner)


def workload_job(
    job_type: JobType[Spec, Any],
    job_id: str,
    resolved: Resolved,
    payload: dict[str, Any],
    *,
    upload_bytes: int | None = None,
    arrival: dict[str, int],
) -> NewJob:
    """Return the new job for a resolved request."""
    spec, plan = resolved.spec, resolved.plan
    return NewJob(
        id=job_id,
        type=job_type.name,
        submit_time=utc_now(),
        payload=payload,
        plan=plan.model_dump(mode="json"),
        image=plan.image,
        has_upload=upload_bytes is not None,
        upload_bytes=upload_bytes or 0,
        priority=spec.priority or 0,
        project=spec.project,
        labels=spec.labels,
        max_attempts=plan.retry.max_attempts,
        concurrency_group=None if spec.concurrency is None else spec.concurrency.group,
        cancel_running=spec.concurrency is not None and spec.concurrency.cancel_running,
        arrival=arrival,
    )


def _computed_job(job_type: JobType[Any, Any], body: dict[str, Any], arrival: dict[str, int]) -> NewJob:
    request = validated(ComputedJobRequest, body, source="the body")
    check_payload(job_type, request.payload, source="the body")
    return NewJob(
        id=new_job_id(),
        type=job_type.name,
        submit_time=utc_now(),
        payload=request.payload,
        priority=request.priority,
        project=request.project,
        labels=request.labels,
        arrival=arrival,
    )


def _invalid_field(path: str, message: str) -> InvalidRequest:
    return invalid("the body", FieldError(path, message))
