"""What became of a task: its result, the upload's fault, or the reader's."""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ci_common.errors import FieldError, RequestError
from ci_common.readers.confinement import ReadingLimits
from ci_common.readers.faults import as_error

_IDLE_SHARE = 0.1
"""A reader that has used less than this of its processor time was not kept from its work by what it read."""
_MIB = 1024**2

log = logging.getLogger(__name__)


class ReaderLost(Exception):
    """A reader has died or hangs, and no limit of its task is the reason."""


def result_of(
    answer: dict[str, Any], root: Path, files: Sequence[str], limits: ReadingLimits, refusal: type[RequestError]
) -> Any:
    """Return a task's result. Raises what the task raised, and `refusal` where the files are at fault."""
    if "result" in answer:
        return answer["result"]
    if "refused" in answer:
        raise as_error(answer["refused"])
    if "over" in answer:
        raise _over(answer["over"], files, limits, refusal)
    log.warning("an upload cannot be read (%s):\n%s", ", ".join(map(repr, files)) or "no file yet", answer["trace"])
    reason = str(answer["fault"]).replace(f"{root}/", "")
    raise _refused(refusal, files, f"cannot be read: {reason}")


def judged(
    status: int | None,
    spent: float,
    files: Sequence[str],
    limits: ReadingLimits,
    refusal: type[RequestError],
    *,
    silent: bool,
) -> Exception:
    """Return what a task without an answer ends with.

    `status` is the reader's end, `spent` the processor time that the task had used before; `silent` tells that the
    reader said nothing for too long, and was killed for that.
    """
    if status == -signal.SIGXCPU:
        return _over("time", files, limits, refusal)
    if silent and spent >= _IDLE_SHARE * limits.seconds:
        return _over("silence", files, limits, refusal)
    names = ", ".join(map(repr, files)) or "no file yet"
    return ReaderLost(f"it {'said nothing for too long' if silent else f'ended with {status}'}, having opened {names}")


def _over(what: str, files: Sequence[str], limits: ReadingLimits, refusal: type[RequestError]) -> RequestError:
    exceeded = {
        "time": f"takes more than {limits.seconds:g} seconds of a processor to read (CI_READ_TIMEOUT)",
        "silence": f"takes more than {limits.longest_silence:g} seconds to read (CI_READ_TIMEOUT)",
        "memory": f"takes more than {limits.memory / _MIB:g} MiB of memory to read (CI_READ_MEMORY)",
    }.get(what, "asks for more than a job can be told to do")
    log.info("an upload is refused: %s %s", ", ".join(map(repr, files)) or "it", exceeded)
    return _refused(refusal, files, exceeded)


def _refused(refusal: type[RequestError], files: Sequence[str], message: str) -> RequestError:
    if not files:
        return refusal(f"the upload {message}")
    shown = [_shown(name) for name in files]
    subject = shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"
    return refusal(f"{subject} {message}", *(FieldError(name, message) for name in shown))


def _shown(name: str) -> str:
    """Return a file's name as a person can read it: quoted where it has anything in it that is not."""
    return name if name.isprintable() else ascii(name)
