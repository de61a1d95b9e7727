"""What became of a job: the record of a run, and the changes of the job."""

import json
from typing import Any, Final, Literal

from pydantic import Field
from starlette.responses import Response

from ci_common.access.identity import Scope
from ci_common.errors import AttemptNotFound, InvalidUpload, JobNotFound
from ci_common.jobs import Job
from ci_common.manifests.stored import read_tree
from ci_common.parsing.values import Integer
from ci_common.system.tasks import in_thread
from ci_common.wire.live.transitions import TransitionView, transitions_of
from ci_common.wire.results.record import canonical, cleanup_of, record_of
from ci_common.wire.results.record_answers import RecordView
from ci_server.endpoints import Call, Endpoint, Files, RateClass, json_answer
from ci_server.http.requests import NoQuery, QueryModel
from ci_server.http.responses import Document
from ci_server.jobs.job_view import attempt_of, find_job
from ci_server.services import Services


class RecordQuery(QueryModel):
    """What `GET /jobs/{id}/record` may be asked."""

    attempt: Integer | None = Field(None, ge=1, description="which attempt's record; by default the last one's")
    include: Literal["files"] | None = None


async def get_record(call: Call[RecordQuery, None]) -> Response:
    job = await find_job(call)
    if call.query.attempt is not None:
        job = attempt_of(job, call.query.attempt)
    record = await call.services.storage.records.get(job.id, job.attempt)
    document = canonical(record_of(job)) if record is None else record.document
    more: dict[str, Any] = {"sha256": None if record is None else record.sha256, "cleanup": cleanup_of(job)}
    if call.query.include == "files":
        call.services.require_files()
        more["files"] = await in_thread(_files, call.services, job)
    # The document is sent as it was written: its digest is of these characters.
    text = f'{{"run":{document},{json.dumps(more)[1:]}'
    return Response(text.encode(), media_type="application/json")


async def list_job_events(call: Call[NoQuery, None]) -> Response:
    return Document(transitions_of(await find_job(call)))


def _files(services: Services, job: Job) -> list[dict[str, Any]] | None:
    """Return the files of an upload by manifest; None for an archive, and for an upload that is gone."""
    try:
        tree = read_tree(services.data.stored_upload(job.id))
    except (FileNotFoundError, InvalidUpload):
        return None
    return [
        {"path": entry.path, "size": entry.size, "sha256": entry.content} for entry in tree.entries if entry.is_file
    ]


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/record",
        handler=get_record,
        query=RecordQuery,
        summary="Get the record of a run",
        description=(
            "the [record](record.md) of the last attempt or of `attempt=N` as one document, with its SHA-256 and its "
            "fingerprint; `include=files` adds the files of an upload by manifest with their digests"
        ),
        answers={200: json_answer(RecordView, "The record.")},
        errors=(JobNotFound, AttemptNotFound),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
        files=Files.SOMETIMES,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/events",
        handler=list_job_events,
        summary="List the changes of a job",
        description=(
            "JSON array of what became of the job, in order: `queued`, `running` and `ended` of each attempt, with "
            "conclusion, [reason](reasons.md) and exit code, and `cancel_requested`. Its milestones are in the job's "
            "`timing`; `GET /events` follows all jobs"
        ),
        answers={200: json_answer(list[TransitionView], "The changes.")},
        errors=(JobNotFound,),
        scope=Scope.JOBS_READ,
        rate_class=RateClass.READ,
    ),
)
