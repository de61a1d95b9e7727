"""Jobs that run the setup of another job once more, so that its outcome is compared with the prepared environment."""

import asyncio
from dataclasses import replace
from pathlib import Path

from starlette.requests import Request

from ci_common.archives.tasks import unpack_with
from ci_common.environments import PlannedSetup
from ci_common.errors import NotVerifiable
from ci_common.jobs import Job, NewJob, new_job_id
from ci_common.manifests.tasks import fill_with
from ci_common.run_directory.inputs import InputsChanged, copy_inputs
from ci_common.spec import ExecutionPlan, Retry
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree
from ci_common.times import Milestone, Timeline, utc_now
from ci_persistence.stores.submissions import SubmissionKey
from ci_server.http.exchange import note_job
from ci_server.jobs.connected import while_connected
from ci_server.services import Services
from ci_server.uploads.staging import Staging, Upload, staged

_PROJECT = "project"
"""The name of the directory, beside that of the attempt, in which the whole project is for a moment."""


def is_verification(job: Job) -> bool:
    """Return whether the job was stored by `verify`."""
    return bool(((job.plan or {}).get("setup") or {}).get("verifies"))


async def verify(services: Services, request: Request, job: Job, key: SubmissionKey | None) -> Job:
    """Store a new job that runs the setup of `job` with its inputs alone. It has the same owner and project.

    Raises NotVerifiable, RequestError, AlreadySubmitted, OSError.
    """
    timeline = Timeline()
    timeline.note(Milestone.ACCEPTED)
    if is_verification(job):
        raise NotVerifiable(f"job {job.id} itself verifies the setup of job {job.payload['verifies']}; verify that one")
    plan = None if job.plan is None else ExecutionPlan.model_validate(job.plan)
    if plan is None or plan.setup is None:
        raise NotVerifiable(f"job {job.id} has no setup, so there is nothing of it that could be made once more")
    again = _verifying(job, plan, plan.setup)
    await services.projects.check_images(again)
    note_job(request.scope, again.id)
    async with services.uploading(0, job.project, job.owner) as place, staged(services.data, again.id) as staging:
        staging.workspace.mkdir(parents=True)
        if plan.setup.inputs:
            async with while_connected(request):
                await _copy_inputs(services, job, plan, plan.setup, staging, place)
        timeline.note(Milestone.UNPACKED)
        again = replace(again, arrival=timeline.times())
        return await staging.commit(services.store_job, again, key)


def _verifying(job: Job, plan: ExecutionPlan, setup: PlannedSetup) -> NewJob:
    """Return the job, whose plan has the same key as that of `job`."""
    only_setup = plan.model_copy(
        update={
            "steps": plan.steps[: setup.steps],
            "setup": setup.model_copy(update={"verifies": True, "fresh": False}),
            "secrets": (),
            "services": {},
            "caches": (),
            "retry": Retry(),
        }
    )
    return NewJob(
        id=new_job_id(),
        type=job.type,
        submit_time=utc_now(),
        owner=job.owner,
        payload={"verifies": job.id},
        plan=only_setup.model_dump(mode="json"),
        image=job.image,
        priority=job.priority,
        project=job.project,
        labels=job.labels,
    )


async def _copy_inputs(
    services: Services, job: Job, plan: ExecutionPlan, setup: PlannedSetup, staging: Staging, place: Upload
) -> None:
    """Copy the inputs of the setup, and nothing else, from the upload of `job` into the workspace."""
    try:
        by_manifest = await asyncio.to_thread(staging.link_upload, services.data, job.id)
    except FileNotFoundError as exc:
        await services.storage.jobs.get(job.id)  # The upload goes when the job is deleted: then it is not found.
        raise NotVerifiable(
            f"what was uploaded for job {job.id} is not kept any longer (CI_UPLOAD_RETENTION); run the project again, "
            "and verify that job"
        ) from exc
    project = staging.path / _PROJECT
    project.mkdir()
    if by_manifest:
        upload = staging.stored_upload
        await fill_with(services.readers, upload, project, check_room=place.check_room)
    else:
        upload = staging.upload
        await unpack_with(services.readers, upload, project, services.unpack_limits, check_room=place.check_room)
    try:
        await in_thread(_copy, project, plan, setup, staging.workspace)
    except InputsChanged as exc:
        raise NotVerifiable(f"{exc}, so what is made of them cannot be compared; run the project again") from exc
    for path in (project, upload):
        await in_thread(delete_tree, path)


def _copy(project: Path, plan: ExecutionPlan, setup: PlannedSetup, workspace: Path) -> None:
    target = workspace / plan.directory
    target.mkdir(parents=True, exist_ok=True)
    copy_inputs(project / plan.directory, setup.inputs, target, setup.digest)
