"""What may be read of the artifacts of one job. `ci_common.artifacts` has their contents."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from starlette.responses import Response, StreamingResponse

from ci_common.access.identity import Scope
from ci_common.artifacts.types import SANDBOX, SCRIPTED_SANDBOX, disposition_of
from ci_common.attempts.parts import Artifact
from ci_common.errors import ArtifactNotFound, AttemptNotFound, JobNotFound
from ci_common.jobs import Job
from ci_common.parsing.globs import LONGEST_PATTERN, Glob
from ci_common.parsing.text import shown
from ci_common.parsing.values import Integer
from ci_common.spec_parts.artifacts import PLAIN_PATTERN
from ci_common.times import from_micros, to_micros, to_rfc3339, utc_now
from ci_common.wire.problems import PROBLEM_MEDIA_TYPE, ProblemView
from ci_common.wire.results.artifacts import ArtifactListView, list_on_wire
from ci_server.artifacts.zips import zip_of
from ci_server.endpoints import Answer, AnyEndpoint, Call, Endpoint, Files, RateClass, json_answer
from ci_server.http.ranges import knows, ranged_content
from ci_server.http.requests import QueryModel
from ci_server.http.responses import Document
from ci_server.jobs.job_view import attempt_of, find_job

_LINK_SECONDS: Final = 300.0
"""How long a signed URL may be used; a download that has begun goes on."""
_MOST_PATTERNS: Final = 30


def _check_pattern(pattern: str) -> str:
    Glob(pattern)
    return pattern


Pattern = Annotated[
    str,
    AfterValidator(_check_pattern),
    Field(json_schema_extra={"pattern": PLAIN_PATTERN, "minLength": 1, "maxLength": LONGEST_PATTERN}),
]


class ArtifactsQuery(QueryModel):
    """What `GET /jobs/{id}/artifacts` may be asked."""

    attempt: Integer | None = Field(None, ge=1, description="whose artifacts; by default those of the last attempt")


class ArtifactQuery(ArtifactsQuery):
    """What `GET /jobs/{id}/artifacts/{path}` may be asked."""

    download: bool = Field(False, description="true: browsers save the file, whatever it is")
    report: bool = Field(False, description="true: in a frame of this server's page, the scripts in an HTML file run")


class ZipQuery(ArtifactsQuery):
    """What `GET /jobs/{id}/artifacts.zip` may be asked."""

    path: list[Pattern] = Field(
        default_factory=list,
        max_length=_MOST_PATTERNS,
        description="only artifacts whose paths match one of these patterns, with `*`, `?` and `**`",
    )


async def _job_of(call: Call[Any, Any]) -> Job:
    job = await find_job(call)
    return job if call.query.attempt is None else attempt_of(job, call.query.attempt)


async def list_artifacts(call: Call[ArtifactsQuery, None]) -> Response:
    job = await _job_of(call)
    artifacts = await call.services.storage.artifacts.all_of(job.id, job.attempt)
    return Document(list_on_wire(job.artifacts, artifacts))


async def get_artifact(call: Call[ArtifactQuery, None]) -> Response:
    job, path = await _job_of(call), call.request.path_params["path"]
    artifact = await call.services.storage.artifacts.get(job.id, job.attempt, path)
    if artifact is None:
        raise ArtifactNotFound(f"job {job.id} has no artifact {shown(path)}; {_advice(job)}")
    if _is_gone(artifact, utc_now()):
        since = "" if artifact.expires is None else f" since {to_rfc3339(from_micros(artifact.expires))}"
        raise ArtifactNotFound(f"the artifact {shown(path)} has expired and is not kept any longer{since}")
    etag = f'"{artifact.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", **SANDBOX}
    if _runs_scripts(call, artifact):
        # What is kept for a frame must not be shown outside of one.
        headers |= SCRIPTED_SANDBOX | {"Cache-Control": "no-store"}
    if knows(call.request, etag):
        return Response(status_code=304, headers=headers)
    if (link := await _link_of(call, artifact)) is not None:
        return Response(status_code=302, headers={**headers, "Location": link, "Cache-Control": "no-store"})
    headers["Content-Disposition"] = disposition_of(path, artifact.content_type, download=call.query.download)
    content = await call.services.contents.open(artifact.key, artifact.size)
    return ranged_content(call.request, content, media_type=artifact.content_type, headers=headers)


def _runs_scripts(call: Call[ArtifactQuery, None], artifact: Artifact) -> bool:
    """Return whether scripts in the content run: only in a frame of the page, which cannot leave for other hosts."""
    in_frame = call.request.headers.get("sec-fetch-dest", "iframe") == "iframe"
    return call.query.report and in_frame and artifact.content_type.startswith("text/html")


async def _link_of(call: Call[Any, Any], artifact: Artifact) -> str | None:
    """Return where the content is to be had without this server, or None if it has to send it."""
    settings = call.services.settings
    if not settings.artifacts_url:
        call.services.require_files()
        return None
    if settings.artifacts_links == "none":
        return None
    return await call.services.contents.link(artifact.key, _LINK_SECONDS)


def _advice(job: Job) -> str:
    if job.artifacts is None:
        return "it has not ended, or its spec names no artifacts"
    return f"GET /jobs/{job.id}/artifacts lists the {job.artifacts.number} that there are"


def _is_gone(artifact: Artifact, now: datetime) -> bool:
    return artifact.removed or (artifact.expires is not None and artifact.expires <= to_micros(now))


async def get_artifacts_zip(call: Call[ZipQuery, None]) -> Response:
    job, now = await _job_of(call), utc_now()
    if not call.services.settings.artifacts_url:
        call.services.require_files()
    globs = [Glob(pattern) for pattern in call.query.path]
    artifacts = [
        artifact
        for artifact in await call.services.storage.artifacts.all_of(job.id, job.attempt)
        if not _is_gone(artifact, now) and (not globs or any(glob.matches(artifact.path) for glob in globs))
    ]
    if not artifacts:
        raise ArtifactNotFound(f"job {job.id} has no artifacts that could be packed; {_advice(job)}")
    headers = {"Content-Disposition": f'attachment; filename="artifacts-{job.id}.zip"', **SANDBOX}
    if call.request.method == "HEAD":
        return Response(headers=headers, media_type="application/zip")
    archive = zip_of(artifacts, call.services.contents, job.end_time or now)
    return StreamingResponse(_closing(archive), headers=headers, media_type="application/zip")


async def _closing(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(parts):
        async for part in parts:
            yield part


_BINARY: Final = {"*/*": bytes}
_HEADERS: Final = ("Accept-Ranges", "ETag", "Content-Disposition")

ENDPOINTS: Final[tuple[AnyEndpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/artifacts",
        handler=list_artifacts,
        query=ArtifactsQuery,
        summary="List a job's artifacts",
        description=(
            "the [artifacts](artifacts.md) of the last attempt, or of `attempt=N`, in the order of their paths: "
            '`{"number": 1, "bytes": 2048, "artifacts": [{"path": "dist/a.whl", …}], "left_out_number": 0, '
            '"left_out": []}`; `left_out` has the first files that were to be kept and are not, each with a `reason`'
        ),
        answers={200: json_answer(ArtifactListView, "The artifacts.")},
        errors=(JobNotFound, AttemptNotFound),
        scope=Scope.ARTIFACTS_READ,
        rate_class=RateClass.READ,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/artifacts/{path:rest}",
        handler=get_artifact,
        query=ArtifactQuery,
        headers=("Range", "If-Range", "If-None-Match"),
        summary="Get an artifact",
        description=(
            "the file, with its content type, `ETag` (the SHA-256 of its content) and byte ranges (RFC 9110). "
            "Browsers run no script in it, unless `report=true` asks for an HTML file in a frame of [the page](ui.md); "
            "`download=true` has them save it. Where artifacts are kept in S3, the "
            "answer is a redirect to a URL that can be used for 5 minutes"
        ),
        answers={
            200: Answer("The file.", _BINARY, headers=_HEADERS),
            206: Answer("A part of the file.", _BINARY, headers=(*_HEADERS, "Content-Range")),
            302: Answer("Where the file is to be had."),
            304: Answer("The client has it.", headers=("ETag",)),
            416: Answer(
                "`range_not_satisfiable`: the range begins behind the file's last byte.",
                {PROBLEM_MEDIA_TYPE: ProblemView},
                headers=("Content-Range",),
            ),
        },
        errors=(JobNotFound, AttemptNotFound, ArtifactNotFound),
        scope=Scope.ARTIFACTS_READ,
        rate_class=RateClass.READ,
        files=Files.SOMETIMES,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{job_id}/artifacts.zip",
        handler=get_artifacts_zip,
        query=ZipQuery,
        summary="Get several artifacts as one archive",
        description=(
            "a zip archive of all artifacts, or of those that match one of the patterns `path=dist/**`, which may be "
            "repeated; it is written while it is sent, so it has no length. Names are changed where a system could "
            "not unpack them into one directory"
        ),
        answers={200: Answer("The archive.", {"application/zip": bytes}, headers=("Content-Disposition",))},
        errors=(JobNotFound, AttemptNotFound, ArtifactNotFound),
        scope=Scope.ARTIFACTS_READ,
        rate_class=RateClass.READ,
        files=Files.SOMETIMES,
    ),
)
