"""The errors that the product raises on purpose, each with its meaning.

The main kinds are `RequestError`, whose `status` and `code` go to the client, with `Unavailable` below it, and
`StaleWrite` for a compare-and-set write that found another version of the row. Failures of an engine are in
`ci_common.runtime_faults`, refusals by the HTTP layer in `ci_server.http.refusals`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self


class CiError(Exception):
    """The base of all errors that the product raises on purpose."""


class SettingsError(CiError):
    """An environment variable has an unusable value. The message names each of them, and what would be right."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """A wrong field of a request, and why. `path` is dotted, as in `limits.memory` or `steps.0.run`."""

    path: str
    message: str


class RequestError(CiError):
    """The request cannot be carried out. `str()` says what was wrong and what would be right."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"
    title: ClassVar[str] = "The request is not valid"
    retry_after: ClassVar[int | None] = None
    """Seconds after which the same request may succeed; None if waiting does not help."""
    headers: ClassVar[Mapping[str, str]] = {}
    """Further headers of the answer."""

    def __init__(self, message: str, *errors: FieldError) -> None:
        super().__init__(message)
        self.errors = errors
        self.more_headers: dict[str, str] = {}
        """Headers of the answer that this very error has; they win over the others."""
        self.figures: dict[str, int | str] = {}
        """Numbers and names for programs, by their names in the problem document."""
        self.is_hidden = False
        """Whether what is not found is there, and its sender may not see it. Only the audit tells the two apart."""

    @property
    def detail(self) -> str:
        """The text in the HTTP answer: `str()`, without details of the server's machine that clients do not need."""
        return str(self)


class InvalidRequest(RequestError):
    """A field is missing, unknown or has the wrong form."""


class InputMissing(RequestError):
    """The upload has no file that matches a pattern of its setup's inputs, or of the key of a cache."""

    status = 409
    code = "input_missing"
    title = "The upload does not have the files that its setup or a cache names"


class CacheConflict(RequestError):
    """A cache cannot be used in this job: another one has its files, or its key needs what the job does not have."""

    status = 409
    code = "cache_conflict"
    title = "A cache cannot be used in this job"


class InvalidUpload(RequestError):
    """The uploaded file is not a zip archive that can be unpacked safely."""

    code = "invalid_upload"
    title = "The uploaded file cannot be used"


class UnrecognisedProject(RequestError):
    """Nothing in the project or the request says how to run it."""

    code = "unrecognised_project"
    title = "Nothing says how to run this project"


class TooLarge(RequestError):
    """A body, an upload or what it unpacks to exceeds a limit."""

    status = 413
    code = "too_large"
    title = "Over a limit"


class JobNotFound(RequestError):
    """No job has this id."""

    status = 404
    code = "job_not_found"
    title = "No such job"


class KeyNotFound(RequestError):
    """No key has this id, or none that the sender may see."""

    status = 404
    code = "key_not_found"
    title = "No such key"


class KeyConflict(RequestError):
    """The key has been revoked, or the secret before its last rotation is still promised an overlap."""

    status = 409
    code = "key_conflict"
    title = "The key cannot be changed in this way"


class IssuerNotFound(RequestError):
    """No one signs in with a browser at this issuer, or at none."""

    status = 404
    code = "issuer_not_found"
    title = "No such issuer"


class ProjectNotFound(RequestError):
    """No project of this name has been created, or none that the sender may see."""

    status = 404
    code = "project_not_found"
    title = "No such project"


class MemberNotFound(RequestError):
    """The project has no such member."""

    status = 404
    code = "member_not_found"
    title = "No such member"


class ProjectConflict(RequestError):
    """There is a project of this name already, or other requests change it at the same time."""

    status = 409
    code = "project_conflict"
    title = "The project cannot be changed in this way"


class SecretNotFound(RequestError):
    """There is no secret with this name."""

    status = 404
    code = "secret_not_found"
    title = "No such secret"


class SecretMissing(RequestError):
    """A job names a secret that there is none of for it."""

    status = 409
    code = "secret_missing"
    title = "The job names a secret that is not there"


class SecretInPayload(RequestError):
    """A job has in clear what seems to be a secret."""

    code = "secret_in_payload"
    title = "The job has a secret in clear"


class EnvironmentNotFound(RequestError):
    """No prepared environment has this key."""

    status = 404
    code = "environment_not_found"
    title = "No such environment"


class CacheNotFound(RequestError):
    """No cache has this id."""

    status = 404
    code = "cache_not_found"
    title = "No such cache"


class ArtifactNotFound(RequestError):
    """The job has no artifact at this path, or it has expired."""

    status = 404
    code = "artifact_not_found"
    title = "No such artifact"


class AttemptNotFound(RequestError):
    """The job has no such attempt."""

    status = 404
    code = "attempt_not_found"
    title = "No such attempt"


class CaseNotFound(RequestError):
    """The job has no such test."""

    status = 404
    code = "test_not_found"
    title = "No such test"


class KeyReused(RequestError):
    """The `Idempotency-Key` belongs to another submission."""

    status = 422
    code = "idempotency_key_reused"
    title = "The key belongs to another submission"


class SubmissionInProgress(RequestError):
    """A submission with this `Idempotency-Key` is still being accepted. Sent again later, it gets its job."""

    status = 409
    code = "submission_in_progress"
    title = "The submission is still being accepted"
    retry_after = 1


class JobAlreadyCompleted(RequestError):
    """The job has completed, so it cannot be cancelled."""

    status = 409
    code = "job_completed"
    title = "The job has already completed"


class ServiceNotFound(RequestError):
    """The job has no service of this name."""

    status = 404
    code = "service_not_found"
    title = "No such service"


class NotRetryable(RequestError):
    """The job cannot be submitted again: it has not completed, its upload is gone, or it lacks what is to change."""

    status = 409
    code = "not_retryable"
    title = "The job cannot be retried"


class NotVerifiable(RequestError):
    """The setup of the job cannot be run again: it has none, or its upload is gone."""

    status = 409
    code = "not_verifiable"
    title = "The setup of the job cannot be verified"


class UploadNotFound(RequestError):
    """No upload is being received under this id."""

    status = 404
    code = "upload_not_found"
    title = "No such upload"


class UploadConflict(RequestError):
    """The upload is not as far as the request says, or another request writes to it."""

    status = 409
    code = "upload_conflict"
    title = "The upload cannot go on with this request"


class UploadBaseGone(RequestError):
    """The server does not have the upload that a manifest is based on."""

    status = 409
    code = "upload_base_gone"
    title = "The manifest's base is not here"


class QueueFull(RequestError):
    """The queue has as many jobs as the server accepts."""

    status = 429
    code = "queue_full"
    title = "The queue is full"
    retry_after = 5

    @classmethod
    def beyond(cls, limit: int) -> Self:
        """Return the error for a queue with a limit of `limit` jobs."""
        return cls(f"{limit} jobs are queued already, and no more are accepted; try again later (MAX_QUEUED)")


class TooManyUploads(RequestError):
    """The server receives and unpacks as many uploads as it accepts at once."""

    status = 503
    code = "too_many_uploads"
    title = "Too many uploads are under way"
    retry_after = 5


class DiskLow(RequestError):
    """The disk of `path` has `free` bytes free; after writing `wanted` more, fewer than `floor` would be free."""

    status = 503
    code = "disk_low"
    title = "The disk is too full for new work"
    retry_after = 30

    def __init__(self, path: Path, *, free: int, floor: int, wanted: int = 0) -> None:
        more = f", {wanted} more are needed" if wanted else ""
        super().__init__(
            f"only {free} bytes are free on the disk of {path}{more}, and {floor} must stay free "
            "(CI_MIN_FREE_BYTES, CI_MIN_FREE_PERCENT)"
        )
        self.path = path
        self.floor = floor
        self.figures = {"free_bytes": free, "min_free_bytes": floor, "wanted_bytes": wanted}

    @property
    def detail(self) -> str:
        return str(self).replace(f"the disk of {self.path}", "the server's disk", 1)


class FilesElsewhere(RequestError):
    """The request needs files, and they are on another host."""

    status = 503
    code = "files_elsewhere"
    title = "The files are on another host"

    def __init__(self) -> None:
        super().__init__(
            "this server does not have the files of jobs: send the request to the one on the host that has them"
        )


class Unavailable(RequestError):
    """The server is shutting down, or its database or disk fails."""

    status = 503
    code = "unavailable"
    title = "The service cannot take the request at present"
    retry_after = 2


class DatabaseUnavailable(Unavailable):
    """The database cannot be used. `str()`, which goes to the log, names it and its error."""

    detail = "the server's database cannot be used at present; the server's log says why"


class NoRoom(DatabaseUnavailable):
    """The disk of the database is full."""

    detail = "the disk that holds the server's database is full; try again once there is room"


class Locked(DatabaseUnavailable):
    """Another program keeps the database locked; try again when it is done."""

    detail = "another program keeps the server's database locked; try again once it is done"


class StaleWrite(CiError):
    """A compare-and-set write found another version of the row. Read the row again."""


class LeadershipLost(StaleWrite):
    """This controller does not lead any more, or cannot be sure that it does, so it must not change anything."""
