"""The errors that the client raises on purpose.

CiError
└── ClientError                 `exit_status` is what the command line ends with
    ├── ServerUnreachable       69  no server answers; the request was not sent
    ├── ConnectionBroken        69  the connection broke after the request was sent, at least in part
    │   ├── SubmissionUncertain 69  ... and the request was a submission, which the server may have accepted or not
    │   └── StreamLost          69  ... and a job's stream could not be resumed in time
    ├── ServerError             64, 69 or 70  the server answered with an error; `status`, `code`, `errors` say which
    ├── AnswerNotUnderstood     70  the answer is not one of a ci-server
    ├── ContentMismatch         70  a received artifact is not the one that the job left
    ├── LogMismatch             70  the received log is not the log that the job wrote
    ├── NoServer                69  a command needs a server that goes on after it, and none is configured
    ├── CredentialsUnusable     64  the key for the server cannot be read or sent
    ├── StateUnavailable        70  the state directory cannot be used
    ├── OutputClosed           141  standard output is closed, or its reader is gone
    ├── OutputFailed            70  standard output cannot be written, for example on a full disk
    ├── ArchiveNotWritten       70  the disk for temporary files has no space for the project's archive
    ├── NoSuchJob               64  no job, or more than one, has an id that begins with what was given
    ├── CannotSelect            64  the tests that failed cannot be run by themselves; nothing was sent
    ├── CannotCompare           64  no changed lines are known, or no coverage of them
    └── PackingError            64  the project cannot be packed; nothing was sent

`ci_client.transport.translated` turns httpx's errors into these.
"""

import json
from typing import Any, ClassVar, Self

from ci_common.errors import CiError, FieldError

EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_BROKEN_PIPE = 141


def json_object(content: bytes) -> dict[str, Any]:
    """Return what is written as JSON, or nothing if it is no object."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class ClientError(CiError):
    """The base of the client's errors. `str()` says what happened and, if something helps, what does."""

    exit_status: ClassVar[int] = EX_SOFTWARE


class ServerUnreachable(ClientError):
    """No connection could be made, so the request was not sent."""

    exit_status = EX_UNAVAILABLE


class ConnectionBroken(ClientError):
    """The connection broke after the request was sent, at least in part."""

    exit_status = EX_UNAVAILABLE


class SubmissionUncertain(ConnectionBroken):
    """The connection broke before the server sent the job's id: the job may have been accepted or not."""

    WHAT: ClassVar = "the job may have been accepted or not"
    """What every message of it says."""

    @classmethod
    def interrupted(cls) -> Self:
        """Return the error of a command that was interrupted while it waited for the job's id."""
        return cls(f"interrupted before the server sent the job's id: {cls.WHAT}; look for it with `ci list`")


class StreamLost(ConnectionBroken):
    """A job's stream broke and could not be resumed for `reconnect_seconds`. The job goes on."""


class ServerError(ClientError):
    """The server refused the request, or failed."""

    def __init__(self, status: int, code: str, message: str, *errors: FieldError, retry_after: str | None = None):
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.code = code
        """The problem's `code`, such as `job_not_found`; `http_503` and the like if the answer has no code."""
        self.errors = errors
        """The invalid fields."""
        self.retry_after = retry_after
        """The Retry-After header: seconds, or a date."""

    @classmethod
    def of(cls, status: int, content: bytes, retry_after: str | None = None) -> Self:
        """Return the error that an answer tells, whose body is a problem document or anything else."""
        problem = json_object(content)
        errors = [
            FieldError(str(error.get("path", "")), str(error.get("message", "")))
            for error in problem.get("errors") or []
            if isinstance(error, dict)
        ]
        message = problem.get("detail") or problem.get("title") or f"the server answered {status}"
        code = problem.get("code") or f"http_{status}"
        return cls(status, str(code), str(message), *errors, retry_after=retry_after)

    @property
    def may_pass(self) -> bool:
        """Whether a retry may succeed soon, for example once a server or its proxy has restarted."""
        return self.status in (429, 502, 503, 504) and self.code != "files_elsewhere"

    @property
    def exit_status(self) -> int:  # type: ignore[override]  # depends on what the server said
        if self.may_pass:
            return EX_UNAVAILABLE
        return EX_USAGE if self.status < 500 else EX_SOFTWARE


class AnswerNotUnderstood(ClientError):
    """Something answers at the URL, but it is not a ci-server."""


class LogMismatch(ClientError):
    """Bytes of the log are missing, duplicated or changed."""


class ContentMismatch(ClientError):
    """A received artifact is not the one that the job left. Nothing of it is kept."""


class NoServer(ClientError):
    """The command leaves work for later, and there is no server that would do it."""

    exit_status = EX_UNAVAILABLE


class CredentialsUnusable(ClientError):
    """The keys that are kept cannot be read, or what is given as a key cannot be one."""

    exit_status = EX_USAGE


class StateUnavailable(ClientError):
    """The state directory of the commands cannot be made."""


class OutputFailed(ClientError):
    """Standard output cannot be written, and its reader is still there."""


class ArchiveNotWritten(ClientError):
    """The archive of a project cannot be written. Nothing was sent."""


class NotWritten(ClientError):
    """A file of a project cannot be written, or is not to be replaced."""

    exit_status = EX_USAGE


class OutputClosed(ClientError):
    """Standard output is closed, or its reader is gone. `str()` is empty if there is nothing to report."""

    exit_status = EX_BROKEN_PIPE


class SignInFailed(ClientError):
    """A person could not sign in with an issuer, or did not."""


class NoSuchJob(ClientError):
    """The given text names no job, or several."""

    exit_status = EX_USAGE


class NoSuchStep(ClientError):
    """The given text names no step of the job."""

    exit_status = EX_USAGE


class PackingError(ClientError):
    """The project cannot be packed. The message names the file and what to do."""

    exit_status = EX_USAGE
