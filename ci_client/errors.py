"""Every error the client raises on purpose.

CiError
└── ClientError                 `exit_status` is what the command line ends with
    ├── ServerUnreachable       69  nothing answers there; the request has not been carried out
    ├── ConnectionBroken        69  the connection broke while the request was under way
    │   ├── SubmissionUncertain 69  ... a submission: the server may have taken it or not
    │   └── StreamLost          69  a job's stream could not be taken up again in time
    ├── ServerError             64, 69 or 70  the server answered with an error; `status`, `code`, `errors` say which
    ├── AnswerNotUnderstood     70  what answers does not speak as a ci-server does
    ├── LogMismatch             70  the log as received is not the log as the job wrote it
    ├── NobodyServes            69  a command needs a server that goes on after it, and none is configured
    ├── StateUnavailable        70  the state directory cannot be used
    ├── OutputClosed           141  nothing reads standard output (any more)
    ├── OutputFailed            70  standard output takes no more, as on a full disk
    ├── ArchiveNotWritten       70  the disk for temporary files cannot take the project's archive
    ├── NoSuchJob               64  no job, or more than one, begins with what was given
    └── PackingError            64  the project cannot be packed; nothing has been sent

Errors of httpx become these in one place, `ci_client.transport.translated`.
"""

from typing import ClassVar

from ci_common.errors import CiError, FieldError

EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_BROKEN_PIPE = 141


class ClientError(CiError):
    """The root of the client's errors. `str()` says what happened and, where something helps, what does."""

    exit_status: ClassVar[int] = EX_SOFTWARE


class ServerUnreachable(ClientError):
    """No connection could be made, so the request has not been carried out."""

    exit_status = EX_UNAVAILABLE


class ConnectionBroken(ClientError):
    """The connection broke after the request had been sent, at least in part."""

    exit_status = EX_UNAVAILABLE


class SubmissionUncertain(ConnectionBroken):
    """The connection broke before the server had named the job: it may have been accepted or not."""


class StreamLost(ConnectionBroken):
    """A job's stream broke and could not be taken up again for `reconnect_seconds`. The job goes on."""


class ServerError(ClientError):
    """The server refused the request, or failed."""

    def __init__(self, status: int, code: str, message: str, *errors: FieldError, retry_after: str | None = None):
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.code = code
        """The problem's `code`, as in `job_not_found`; `http_503` and the like where the answer names none."""
        self.errors = errors
        """Which fields were at fault."""
        self.retry_after = retry_after
        """The header of that name: seconds, or a date."""

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a little later, as when a server or a proxy before it restarts."""
        return self.status in (429, 502, 503, 504)

    @property
    def exit_status(self) -> int:  # type: ignore[override]  # depends on what the server said
        if self.may_pass:
            return EX_UNAVAILABLE
        return EX_USAGE if self.status < 500 else EX_SOFTWARE


class AnswerNotUnderstood(ClientError):
    """Something answers at the URL, but not as a ci-server does."""


class LogMismatch(ClientError):
    """Bytes of the log are missing, doubled or changed."""


class NobodyServes(ClientError):
    """The command leaves work for later, and there is no server that would do it."""

    exit_status = EX_UNAVAILABLE


class StateUnavailable(ClientError):
    """The directory in which commands remember things cannot be made."""


class OutputFailed(ClientError):
    """Standard output cannot be written, for another reason than that its reader has gone away."""


class ArchiveNotWritten(ClientError):
    """The archive of a project cannot be written. Nothing has been sent."""


class OutputClosed(ClientError):
    """Standard output is closed, or its reader has gone away. `str()` is empty where that needs no word."""

    exit_status = EX_BROKEN_PIPE


class NoSuchJob(ClientError):
    """What was given names no job, or several."""

    exit_status = EX_USAGE


class PackingError(ClientError):
    """The project cannot be packed. The message names the file and what to do."""

    exit_status = EX_USAGE
