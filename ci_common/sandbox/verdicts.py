"""What became of a task: its result, the upload's fault, or the reader's."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_common.errors import FieldError, InvalidRequest, InvalidUpload, RequestError
from ci_common.sandbox.confinement import ReadingLimits
from ci_common.sandbox.faults import as_error

_IDLE_SHARE = 0.005
"""A reader that used a processor for less of the time was not kept from answering by what it read."""
_MIB = 1024**2

log = logging.getLogger(__name__)


class ReaderLost(Exception):
    """A reader has died or hangs, and no limit of its task is the reason."""


@dataclass(frozen=True, slots=True)
class Task:
    """Something for a reader to do."""

    name: str
    """One of the module's TASKS."""
    argument: dict[str, Any]
    """What it takes, as JSON has it."""
    root: Path
    """The directory whose files it writes or reads."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files that a reader has opened last, the newest first."""

    names: Sequence[str]
    only_reads: bool
    """Whether the archive was unpacked already. Until then there is one file, and the archive may be at fault."""

    def __str__(self) -> str:
        return ", ".join(map(_shown, self.names)) or "no file yet"

    def refused(self, message: str) -> RequestError:
        """Return the error that names the files."""
        kind: type[RequestError] = InvalidRequest if self.only_reads else InvalidUpload
        if not self.names:
            return kind(f"the upload {message}")
        shown = [_shown(name) for name in self.names]
        subject = shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"
        return kind(f"{subject} {message}", *(FieldError(name, message) for name in shown))


def result_of(answer: dict[str, Any], task: Task, files: Files, limits: ReadingLimits) -> Any:
    """Return a task's result. Raises what the task raised, and RequestError where the files are at fault."""
    if "result" in answer:
        return answer["result"]
    if "refused" in answer:
        raise as_error(answer["refused"])
    if "over" in answer:
        raise _over(answer["over"], files, limits)
    trace = "\n".join(f"    {_shown(line)}" for line in str(answer["trace"]).splitlines())
    log.warning("an upload cannot be read (%s):\n%s", files, trace)
    reason = " ".join(str(answer["fault"]).replace(f"{task.root}/", "").split())
    raise files.refused(f"cannot be read: {reason}")


@dataclass(frozen=True, slots=True)
class Silence:
    """How a reader was when it had said nothing for too long."""

    spent: float
    """Seconds of a processor that it used in the second half of that time."""


def judged(status: int | None, silence: Silence | None, files: Files, limits: ReadingLimits) -> Exception:
    """Return what a task without an answer ends with. `status` is how the reader ended."""
    if status == -signal.SIGXCPU:
        return _over("time", files, limits)
    if silence is None:
        return ReaderLost(f"it ended with {status}, having opened {files}")
    if silence.spent >= _IDLE_SHARE * limits.longest_silence / 2:
        return _over("silence", files, limits)
    return ReaderLost(f"it said nothing for {limits.longest_silence:g} seconds, having opened {files}")


def _over(what: str, files: Files, limits: ReadingLimits) -> RequestError:
    exceeded = {
        "time": f"takes more than {limits.seconds:g} seconds of a processor to read (CI_READ_TIMEOUT)",
        "silence": f"takes more than {limits.longest_silence:g} seconds to read (CI_READ_TIMEOUT)",
        "memory": f"takes more than {limits.memory / _MIB:g} MiB of memory to read (CI_READ_MEMORY)",
    }.get(what, "asks for more than a job can be told to do")
    log.info("an upload is refused: %s %s", files, exceeded)
    return files.refused(exceeded)


def _shown(name: str) -> str:
    """Return a file's name as a person can read it: quoted where it has anything in it that is not."""
    return name if name.isprintable() else ascii(name)
