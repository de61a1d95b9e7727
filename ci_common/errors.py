"""Every error the product raises on purpose.

CiError
├── RequestError              the caller asked for something wrong or impossible; `code` and `status` say what
│   ├── InvalidRequest        400  a field is missing, unknown or of the wrong form
│   ├── InvalidHttp           400  the request is not written as HTTP wants it, or has not exactly one Host
│   ├── InvalidUpload         400  the uploaded file is no zip, or one we do not unpack
│   ├── UnrecognisedProject   400  nothing says how to run this project
│   ├── TooLarge              413  over a limit on size, member count or compression ratio
│   ├── UrlTooLong            414
│   ├── HeadersTooLarge       431  the headers are too long or too many
│   ├── RequestStalled        408  the headers or the body come too slowly
│   ├── MisdirectedRequest    421  the request is for a host that this server does not answer for
│   ├── CrossSite             403  a web page of another site asked for it
│   ├── ScopeMissing          403  the sender may not do this
│   ├── JobNotFound           404
│   ├── AttemptNotFound       404
│   ├── JobAlreadyCompleted   409  a transition that is not possible any more
│   ├── NotRetryable          409  a retry of a job whose upload is gone
│   ├── QueueFull             429
│   ├── TooManyConnections    503  as many connections are open as the server takes at once
│   ├── TooManyUploads        503  as many uploads are under way as the server takes at once
│   ├── DiskLow               503  the disk has less room than is to stay free
│   └── Unavailable           503  shutting down, or the database or disk cannot take it
│       └── DatabaseUnavailable    the database cannot be used
│           └── Locked             another program keeps it locked
├── StaleWrite                a compare-and-set write met another version
│   └── LeadershipLost        this controller does not lead any more, or cannot be sure that it does
└── RuntimeFault              what a runtime (Docker, processes) reports
    ├── RuntimeUnavailable    it cannot be asked: nothing is known, try again
    ├── ImageFault            the image cannot be had
    │   ├── ImageNotFound     no such image, here or in its registry
    │   ├── ImageInvalid      the reference is no image reference
    │   └── ImagePullFailed   the registry could not be reached or broke off: worth another try
    └── StartFault            the container cannot be created or started
        ├── ImageWithoutShell the image has no /bin/sh
        └── LimitUnenforceable   the job has a limit that nothing there enforces
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ci_common.jobs import ReasonCode


class CiError(Exception):
    """The root of all errors raised on purpose."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """Which field of a request is at fault, and why. `path` is dotted, as in `limits.memory` or `steps.0.run`."""

    path: str
    message: str


class RequestError(CiError):
    """The request cannot be carried out. `str()` says what was wrong and what would be right."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "invalid_request"
    title: ClassVar[str] = "The request is not valid"
    retry_after: ClassVar[int | None] = None
    """Seconds after which the same request may succeed; None where waiting does not help."""

    def __init__(self, message: str, *errors: FieldError) -> None:
        super().__init__(message)
        self.errors = errors
        self.figures: dict[str, int] = {}
        """Numbers for programs, by the names they have in the problem document."""

    @property
    def detail(self) -> str:
        """What is told over HTTP: `str()`, unless that says more of the server's machine than callers need to know."""
        return str(self)


class InvalidRequest(RequestError):
    """A field is missing, unknown or of the wrong form."""


class InvalidHttp(RequestError):
    """The request is not written as HTTP wants it, or has not exactly one usable Host."""

    code = "invalid_http"
    title = "The request is not valid HTTP"


class InvalidUpload(RequestError):
    """The uploaded file is not a zip archive, or one that is not safe to unpack."""

    code = "invalid_upload"
    title = "The uploaded file cannot be used"


class UnrecognisedProject(RequestError):
    """Nothing in the project or the request says how to run it."""

    code = "unrecognised_project"
    title = "Nothing says how to run this project"


class TooLarge(RequestError):
    """A body, an upload or what it unpacks to is over a limit."""

    status = 413
    code = "too_large"
    title = "Over a limit"


class UrlTooLong(RequestError):
    """The URL is longer than the server takes."""

    status = 414
    code = "url_too_long"
    title = "The URL is too long"


class HeadersTooLarge(RequestError):
    """The headers are more, or longer, than the server takes."""

    status = 431
    code = "headers_too_large"
    title = "The headers are too large"


class MisdirectedRequest(RequestError):
    """The request names a host that this server does not answer for, as DNS rebinding makes a browser do."""

    status = 421
    code = "misdirected_request"
    title = "The request is for another host"


class RequestStalled(RequestError):
    """The client sends its request too slowly to be waited for."""

    status = 408
    code = "request_timeout"
    title = "The request did not arrive in time"


class CrossSite(RequestError):
    """A browser sent the request on behalf of a page of another site, which must not make jobs run."""

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
    """The job has completed, so it cannot be cancelled any more."""

    status = 409
    code = "job_completed"
    title = "The job has already completed"


class NotRetryable(RequestError):
    """The job cannot be submitted again, because what was uploaded for it is gone."""

    status = 409
    code = "not_retryable"
    title = "The job cannot be retried"


class QueueFull(RequestError):
    """As many jobs are queued as the server accepts."""

    status = 429
    code = "queue_full"
    title = "The queue is full"
    retry_after = 5

    @classmethod
    def beyond(cls, limit: int) -> Self:
        """Return the error for a queue that has its `limit` of jobs."""
        return cls(f"{limit} jobs are queued already, and no more are accepted; try again later (MAX_QUEUED)")


class TooManyConnections(RequestError):
    """As many connections are open as the server takes at once."""

    status = 503
    code = "too_many_connections"
    title = "Too many connections are open"
    retry_after = 5


class TooManyUploads(RequestError):
    """As many uploads are being received and unpacked as the server takes at once."""

    status = 503
    code = "too_many_uploads"
    title = "Too many uploads are under way"
    retry_after = 5


class DiskLow(RequestError):
    """The disk under `path` has `free` bytes; with `wanted` more written, fewer than `floor` would be left."""

    status = 503
    code = "disk_low"
    title = "The disk is too full for new work"
    retry_after = 30

    def __init__(self, path: Path, *, free: int, floor: int, wanted: int = 0) -> None:
        more = f" and {wanted} more are wanted" if wanted else ""
        super().__init__(
            f"the disk under {path} has {free} bytes free{more}, of which {floor} are to stay so "
            "(CI_MIN_FREE_BYTES, CI_MIN_FREE_PERCENT)"
        )
        self.path = path
        self.floor = floor
        self.figures = {"free_bytes": free, "min_free_bytes": floor, "wanted_bytes": wanted}

    @property
    def detail(self) -> str:
        return str(self).replace(f"the disk under {self.path}", "the server's disk", 1)


class Unavailable(RequestError):
    """The server is shutting down, or its database or disk cannot take the request."""

    status = 503
    code = "unavailable"
    title = "The service cannot take the request at present"
    retry_after = 2


class DatabaseUnavailable(Unavailable):
    """The database cannot be used. `str()` names its path and what SQLite says, which the server's log has."""

    @property
    def detail(self) -> str:
        return "the server's database cannot be used at present; the server's log says why"


class NoRoom(DatabaseUnavailable):
    """The disk that holds the database is full."""

    @property
    def detail(self) -> str:
        return "the disk that holds the server's database is full; try again once there is room"


class Locked(DatabaseUnavailable):
    """Another program keeps the database locked; it will be free again once that is done."""

    @property
    def detail(self) -> str:
        return "another program keeps the server's database locked; try again once it is done"


class StaleWrite(CiError):
    """A compare-and-set write met another version of the row. Look again."""


class LeadershipLost(StaleWrite):
    """This controller does not lead any more, or cannot be sure that it does, so it changes nothing."""


class RuntimeFault(CiError):
    """Something a runtime reported. `reason_code` is what a job that ends of it gets as its reason."""

    reason_code: ClassVar[ReasonCode] = ReasonCode.INTERNAL_ERROR


class RuntimeUnavailable(RuntimeFault):
    """The runtime cannot be asked. Nothing is known about any container; try again later."""

    reason_code = ReasonCode.ENGINE_UNAVAILABLE


class ImageFault(RuntimeFault):
    """The image cannot be had."""


class ImageNotFound(ImageFault):
    """The image exists neither here nor in its registry, or the registry denies it."""

    reason_code = ReasonCode.IMAGE_NOT_FOUND


class ImageInvalid(ImageFault):
    """The text is not a reference to an image."""

    reason_code = ReasonCode.IMAGE_INVALID


class ImagePullFailed(ImageFault):
    """The registry could not be reached, or broke off. Another try may succeed."""

    reason_code = ReasonCode.IMAGE_PULL_FAILED


class StartFault(RuntimeFault):
    """The container could not be created or started, and trying again will not help."""

    reason_code = ReasonCode.START_FAILED


class ImageWithoutShell(StartFault):
    """The image has no /bin/sh, which every job's script needs."""

    reason_code = ReasonCode.IMAGE_WITHOUT_SHELL


class LimitUnenforceable(StartFault):
    """The job has a limit that the runtime, or the kernel below it, cannot enforce."""

    reason_code = ReasonCode.LIMIT_UNENFORCEABLE
