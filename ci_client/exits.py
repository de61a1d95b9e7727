"""The exit statuses of the command line.

The job's own exit code if the job's own code ended by itself; else one that scripts can rely on:

    64  the command was used wrongly, or the server refused the request
    69  no server answers
    70  an error of ours
    75  the job errored: it could not be run, or was lost (even if it already had an exit code)
    76  the job goes on: the time that --budget gave was used up
   124  the job timed out
   130  the job was cancelled, or the command was interrupted
   141  standard output has no reader any more (commands that follow a job still follow it to its end)
"""

from ci_client.errors import EX_BROKEN_PIPE as EX_BROKEN_PIPE
from ci_client.errors import EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE, ClientError
from ci_common.errors import CiError, RequestError, SettingsError, Unavailable
from ci_common.jobs import Conclusion
from ci_common.runtime_faults import RuntimeFault
from ci_common.wire.stream import Event

EX_ERRORED = 75
EX_BUDGET = 76
EX_TIMED_OUT = 124
EX_INTERRUPTED = 130

_BY_CONCLUSION: dict[str, int] = {
    Conclusion.SUCCEEDED: 0,
    Conclusion.ERRORED: EX_ERRORED,
    Conclusion.TIMED_OUT: EX_TIMED_OUT,
    Conclusion.CANCELLED: EX_INTERRUPTED,
}


def status_of_job(complete: Event) -> int:
    """Return the exit status for a job's `complete` event."""
    conclusion = complete["conclusion"]
    if conclusion == Conclusion.FAILED:
        return complete.get("exit_code") or 1
    return _BY_CONCLUSION.get(conclusion, EX_SOFTWARE)


def status_of_error(error: CiError) -> int:
    """Return the exit status for an error."""
    if isinstance(error, ClientError):
        return error.exit_status
    if isinstance(error, RequestError | SettingsError) and not isinstance(error, Unavailable):
        return EX_USAGE
    return EX_UNAVAILABLE if isinstance(error, RuntimeFault) else EX_SOFTWARE
