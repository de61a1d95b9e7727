"""Where everything lies in the data directory, and how to read what a job could have tampered with.

<data>/
  ca-certificates.crt        a copy of the host's certificates, mounted into containers, where there are any to pass on
  incoming/<id>/             a submission that is still being received and checked
  jobs/<job_id>/
    upload.zip               what was uploaded, for retries
    uncommitted              a mark of the API: the job's row may not be stored yet
    <attempt>/               the run directory: mounted into the container, so the job can write anything into it
      run                    the POSIX sh script that waits at the gate, the same for all jobs
      job                    the job as a POSIX sh script, which `run` goes on with
      gate                   a FIFO; the script blocks on it until the controller writes `go`
      console                a FIFO that stands for /dev/stdout and /dev/stderr where the runtime mounts it there
      stop                   a FIFO; the word `stop` in it has SIGTERM sent to all of the job's processes in a container
      stopping               a mark: the job is to stop; made before its processes are signalled
      waiting                a mark: the script has reached its gate
      started                a mark: the gate has opened; holds the uptime in seconds then, for the steps' times
      log                    stdout and stderr merged, in the order written
      steps.jsonl            one record per step as it starts and ends
      exit                   exit status and what the kernel counted, complete once it ends with a newline
      workspace/             the unpacked project; workspace.new while an attempt after the first unpacks it
    <attempt>.times          when which byte of the log was there, written by the controller
  pool/<workload>/           the run directory of a container that waits for a job; it is moved to the one that takes it
  processes/                 the process runtime's records; ci_controller.runtime.process.record draws one
  installation               which database the directory belongs to; see ci_common.owner_file

Nothing that is read from a run directory is trusted: `open_regular` follows no symbolic link and opens no FIFO or
device, and every reader caps how much it takes.
"""

import errno
import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from ci_common.errors import Unavailable

UNCOMMITTED = "uncommitted"
LOG = "log"

_EXIT = re.compile(
    rb"(\d{1,3})( term)?(?: oom:(\d{1,18}))?(?: pids:(\d{1,18}))?(?: throttled:(\d{1,3}))?( last)?( killed)?\n"
)
_EXIT_BYTES = 80
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE_FOR_US = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """What the script wrote when the job's own code had ended."""

    code: int
    """Exit status, 0 to 255."""
    terminated: bool
    """Whether the job was to stop by then (the mark `stopping`)."""
    oom_kills: int | None = None
    """How many processes the kernel killed for want of memory during the last step; None where it does not tell."""
    refused_forks: int | None = None
    """How often no further process was allowed during the last step; None where the kernel does not tell."""
    throttled_percent: int | None = None
    """In how many of 100 scheduling periods the job was held back by its limit on processors; None: not known."""
    last: bool = False
    """Whether nothing else of the job ran any more, so that the log was complete."""
    killed: bool = False
    """Whether a signal ended the script, so that the runtime wrote this in its place."""


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor. Neither the file nor its directory may be a link.

    Raises FileNotFoundError where there is no such file, and also where the path is anything but a regular file, or one
    that its owner has closed to us. Other troubles, such as too many open files, say nothing about the file: OSError.
    """
    try:
        descriptor = _opened(*os.path.split(path))
    except OSError as exc:
        if exc.errno not in _NO_FILE_FOR_US:
            raise
        raise FileNotFoundError(f"no readable regular file at {path}: {exc}") from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{path} is not a regular file")
    return descriptor


def _opened(folder: str, name: str) -> int:
    parent = os.open(folder or ".", _FOLDER)
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)


def read_capped(path: Path, limit: int) -> bytes | None:
    """Return at most the first `limit` bytes of a regular file, or None where there is none."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    try:
        return os.pread(descriptor, limit, 0)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one attempt, and what its marks say. Whoever looks again and again keeps it: making paths takes."""

    path: Path

    @cached_property
    def script(self) -> Path:
        return self.path / "run"

    @cached_property
    def job(self) -> Path:
        return self.path / "job"

    @cached_property
    def gate(self) -> Path:
        return self.path / "gate"

    @cached_property
    def console(self) -> Path:
        return self.path / "console"

    @cached_property
    def stop(self) -> Path:
        return self.path / "stop"

    @cached_property
    def stopping(self) -> Path:
        """Made before the job's processes are signalled: a signal alone may be the job's own."""
        return self.path / "stopping"

    @cached_property
    def log(self) -> Path:
        return self.path / LOG

    @cached_property
    def steps(self) -> Path:
        return self.path / "steps.jsonl"

    @cached_property
    def exit(self) -> Path:
        return self.path / "exit"

    @cached_property
    def workspace(self) -> Path:
        return self.path / "workspace"

    @cached_property
    def waiting(self) -> Path:
        return self.path / "waiting"

    @cached_property
    def doomed(self) -> Path:
        """Made before a workload that waits is removed: no job may take it any more."""
        return self.path / "doomed"

    @cached_property
    def started(self) -> Path:
        return self.path / "started"

    @cached_property
    def times(self) -> Path:
        return self.path.with_name(self.path.name + ".times")

    def is_prepared(self) -> bool:
        """Tell whether all was put there that a workload needs, without which none is created."""
        return os.path.lexists(self.script)

    def is_waiting(self) -> bool:
        """Tell whether the script has reached its gate."""
        return os.path.lexists(self.waiting)

    def is_doomed(self) -> bool:
        """Tell whether what waits here is being removed, or was to be."""
        return os.path.lexists(self.doomed)

    def is_gate_read(self) -> bool:
        """Tell whether a process, which can only be the script, waits at the gate at this moment."""
        try:
            # The script's read ends with nothing, so that it opens the gate anew.
            os.close(os.open(self.gate, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def is_started(self) -> bool:
        """Tell whether the gate has opened, so that the job's own code may have run."""
        return os.path.lexists(self.started)

    def is_spent(self) -> bool:
        """Tell whether the directory has been cleared, so that the attempt had completed by then.

        The gate is made before the log, and goes first when a completed attempt is cleared, which leaves the log.
        """
        return os.path.lexists(self.log) and not os.path.lexists(self.gate)

    def started_at(self) -> datetime | None:
        """Return when the mark of the opened gate was made, or None while there is none."""
        try:
            return _instant(os.lstat(self.started))
        except FileNotFoundError:
            return None

    def started_uptime(self) -> float | None:
        """Return the uptime in seconds that the script noted at its start, or None where it could not."""
        try:
            return float(read_capped(self.started, 32) or b"")
        except ValueError:
            return None

    def read_exit(self) -> ExitRecord | None:
        """Return the exit record, or None while there is none that is complete."""
        match = _EXIT.fullmatch(read_capped(self.exit, _EXIT_BYTES) or b"")
        if match is None or int(match[1]) > 255:
            return None
        oom_kills, refused_forks, throttled = (None if text is None else int(text) for text in match.groups()[2:5])
        return ExitRecord(
            int(match[1]), bool(match[2]), oom_kills, refused_forks, throttled, bool(match[6]), bool(match[7])
        )

    def log_size(self) -> int:
        """Return the log's length in bytes; 0 where there is none."""
        return self.log_growth()[0]

    def log_growth(self) -> tuple[int, datetime | None]:
        """Return the log's length in bytes and when it was last written to; 0 and None where that is not known."""
        try:
            descriptor = open_regular(self.log)
        except FileNotFoundError:
            return 0, None
        try:
            state = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return state.st_size, _instant(state)


def _instant(state: os.stat_result) -> datetime | None:
    try:
        return datetime.fromtimestamp(state.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # A job can give its files times that no calendar has.


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The data directory of one installation."""

    path: Path

    @property
    def incoming(self) -> Path:
        return self.path / "incoming"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def pool(self) -> Path:
        return self.path / "pool"

    @property
    def processes(self) -> Path:
        return self.path / "processes"

    @property
    def owner_file(self) -> Path:
        return self.path / "installation"

    @property
    def ca_bundle(self) -> Path:
        return self.path / "ca-certificates.crt"

    def create(self) -> None:
        """Make the directory and its two folders, which are closed to other users even where the directory is not.

        Raises Unavailable.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.incoming.mkdir(mode=0o700, exist_ok=True)
            self.jobs.mkdir(mode=0o700, exist_ok=True)
        except OSError as exc:
            raise Unavailable(
                f"the data directory {self.path} cannot be made: {exc.strerror}; "
                "CI_DB_PATH and CI_DATA_DIR say where it is"
            ) from exc

    def job(self, job_id: str) -> Path:
        return self.jobs / job_id

    def upload(self, job_id: str) -> Path:
        return self.job(job_id) / "upload.zip"

    def run(self, job_id: str, attempt: int) -> RunDirectory:
        return RunDirectory(self.job(job_id) / str(attempt))

    def waiting_run(self, workload: str) -> RunDirectory:
        """Return the run directory of a workload that waits for a job."""
        return RunDirectory(self.pool / workload)
