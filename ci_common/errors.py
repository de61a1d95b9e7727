"""The errors that the product raises on purpose.

CiError
├── RequestError              the request cannot be carried out; `status` and `code` go to the client
│   ├── InvalidRequest        400  a field is missing, unknown or has the wrong form
│   ├── InvalidHttp           400  the request is not valid HTTP, or does not have exactly one Host
│   ├── InvalidUpload         400  the uploaded file is not a zip archive that can be unpacked safely
│   ├── UnrecognisedProject   400  nothing in the project or the request says how to run it
│   ├── TooLarge              413  a body, an upload or what it unpacks to exceeds a limit
│   ├── UrlTooLong            414  the URL is too long
│   ├── HeadersTooLarge       431  the headers are too long or too many
│   ├── RequestStalled        408  the headers or the body arrive too slowly
│   ├── MisdirectedRequest    421  the request is for a host that this server does not serve
│   ├── CrossSite             403  a page of another web site sent the request
│   ├── ScopeMissing          403  the sender does not have the scope that the endpoint needs
│   ├── JobNotFound           404  no job has this id
│   ├── AttemptNotFound       404  the job has no such attempt
│   ├── JobAlreadyCompleted   409  the job has completed, so it cannot be cancelled
│   ├── NotRetryable          409  the job has not completed, or its upload is gone
│   ├── QueueFull             429  the queue is full
│   ├── TooManyConnections    503  the server has no connection left
│   ├── TooManyUploads        503  the server receives no further upload at once
│   ├── DiskLow               503  the disk has less free space than must stay free
│   └── Unavailable           503  the server is shutting down, or its database or disk fails
│       └── DatabaseUnavailable    the database cannot be used
│           ├── NoRoom             the disk of the database is full
│           └── Locked             another program keeps the database locked
├── StaleWrite                a compare-and-set write found another version of the row
│   └── LeadershipLost        this controller does not lead any more, or cannot be sure that it does
└── RuntimeFault              a runtime (Docker, processes) reported a failure
    ├── RuntimeUnavailable    the runtime cannot be reached: nothing is known about any container; try again
    ├── ImageFault            the image is not available
    │   ├── ImageNotFound     neither this machine nor the registry has the image, or the registry denies it
    │   ├── ImageInvalid      the text is not an image reference
    │   └── ImagePullFailed   the registry could not be reached or broke off; another attempt may succeed
    └── StartFault            the container cannot be created or started, and another attempt will not help
        ├── ImageWithoutShell the image has no /bin/sh
        └── LimitUnenforceable   the runtime or the kernel cannot enforce a limit of the job
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ci_common.jobs import ReasonCode


class CiError(Exception):
    """The base of all errors that the product raises on purpose."""


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

    def __init__(self, message: str, *errors: FieldError) -> None:
        super().__init__(message)
        self.errors = errors
        self.figures: dict[str, int] = {}
        """Numbers for programs, by their names in the problem document."""

    @property
    def detail(self) -> str:
        """The text in the HTTP answer: `str()`, without details of the server's machine that clients do not need."""
        return str(self)


class InvalidRequest(RequestError):
    """A field is missing, unknown or has the wrong form."""


class InvalidHttp(RequestError):
    """The request is not valid HTTP, or does not have exactly one usable Host."""

    code = "invalid_http"
    title = "The request is not valid HTTP"


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


class UrlTooLong(RequestError):
    """The URL is longer than the server accepts."""

    status = 414
    code = "url_too_long"
    title = "The URL is too long"


class HeadersTooLarge(RequestError):
    """The headers are more, or longer, than the server accepts."""

    status = 431
    code = "headers_too_large"
    title = "The headers are too large"


class MisdirectedRequest(RequestError):
    """The request is for a host that this server does not serve, as a browser sends it after DNS rebinding."""

    status = 421
    code = "misdirected_request"
    title = "The request is for another host"


class RequestStalled(RequestError):
    """The client sends its request too slowly."""

    status = 408
    code = "request_timeout"
    title = "The request did not arrive in time"


class CrossSite(RequestError):
    """A browser sent the request for a page of another web site, which must not change anything here."""

    status = 403
    code = "cross_site"
    title = "Requests from other web sites are refused"


class ScopeMissing(RequestError):
    """The sender of the request does not have the scope that the endpoint needs."""

    status = 403
    code = "scope_missing"
    title = "The request needs a permission that its sender does not have"


class JobNotFound(RequestError):
    """No job has this id."""

    status = 404
    code = "job_not_found"
    title = "No such job"


class AttemptNotFound(RequestError):
    """The job has no such attempt."""

    status = 404
    code = "attempt_not_found"
    title = "No such attempt"


class JobAlreadyCompleted(RequestError):
    """The job has completed, so it cannot be cancelled."""

    status = 409
    code = "job_completed"
    title = "The job has already completed"


class NotRetryable(RequestError):
    """The job cannot be submitted again: it has not completed, or its upload is gone."""

    status = 409
    code = "not_retryable"
    title = "The job cannot be retried"


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


class TooManyConnections(RequestError):
    """The server has as many open connections as it accepts at once."""

    status = 503
    code = "too_many_connections"
    title = "Too many connections are open"
    retry_after = 5


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


class Unavailable(RequestError):
    """The server is shutting down, or its database or disk fails."""

    status = 503
    code = "unavailable"
    title = "The service cannot take the request at present"
    retry_after = 2


class DatabaseUnavailable(Unavailable):
    """The database cannot be used. `str()`, which goes to the log, names its path and the error of SQLite."""

    @property
    def detail(self) -> str:
        return "the server's database cannot be used at present; the server's log says why"


class NoRoom(DatabaseUnavailable):
    """The disk of the database is full."""

    @property
    def detail(self) -> str:
        return "the disk that holds the server's database is full; try again once there is room"


class Locked(DatabaseUnavailable):
    """Another program keeps the database locked; try again when it is done."""

    @property
    def detail(self) -> str:
        return "another program keeps the server's database locked; try again once it is done"


class StaleWrite(CiError):
    """A compare-and-set write found another version of the row. Read the row again."""


class LeadershipLost(StaleWrite):
    """This controller does not lead any more, or cannot be sure that it does, so it must not change anything."""


class RuntimeFault(CiError):
    """A runtime reported a failure. A job that ends because of it gets `reason_code` as its reason."""

    reason_code: ClassVar[ReasonCode] = ReasonCode.INTERNAL_ERROR


class RuntimeUnavailable(RuntimeFault):
    """The runtime cannot be reached. Nothing is known about any container; try again later."""

    reason_code = ReasonCode.ENGINE_UNAVAILABLE


class ImageFault(RuntimeFault):
    """The image is not available."""


class ImageNotFound(ImageFault):
    """Neither this machine nor the registry has the image, or the registry denies it."""

    reason_code = ReasonCode.IMAGE_NOT_FOUND


class ImageInvalid(ImageFault):
    """The text is not an image reference."""

    reason_code = ReasonCode.IMAGE_INVALID


class ImagePullFailed(ImageFault):
    """The registry could not be reached, or broke off. Another attempt may succeed."""

    reason_code = ReasonCode.IMAGE_PULL_FAILED


class StartFault(RuntimeFault):
    """The container cannot be created or started, and another attempt will not help."""

    reason_code = ReasonCode.START_FAILED


class ImageWithoutShell(StartFault):
    """The image has no /bin/sh, which the script of every job needs."""

    reason_code = ReasonCode.IMAGE_WITHOUT_SHELL


class LimitUnenforceable(StartFault):
    """The runtime or the kernel cannot enforce a limit of the job."""

    reason_code = ReasonCode.LIMIT_UNENFORCEABLE
