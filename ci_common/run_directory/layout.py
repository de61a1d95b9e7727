"""The layout of the data directory, and safe reading of files that a job may have tampered with.

<data>/
  ca-certificates.crt        a copy of the host's own certificates, if it has any, mounted into containers
  incoming/<id>/             a submission that is being received and checked
  jobs/<job_id>/
    upload.zip               what was uploaded, for retries
    uncommitted              a mark of the API: the job's row may not be committed yet
    <attempt>/               the run directory: mounted into the container, so the job can write anything into it
      run                    the POSIX sh script that waits at the gate, the same for all jobs
      job                    the job as a POSIX sh script, which `run` continues with
      gate                   a FIFO; the script blocks on it until the controller writes `go`
      console                a FIFO that the runtime mounts as /dev/stdout and /dev/stderr, if it can
      stop                   a FIFO; the word `stop` makes the script send SIGTERM to all processes in a container
      stopping               a mark: the job has to stop; made before its processes are signalled
      waiting                a mark: the script has reached its gate
      started                a mark: the gate has opened; holds the uptime in seconds then, for the steps' times
      log                    stdout and stderr merged, in the order written
      steps.jsonl            one record per step as it starts and ends
      exit                   exit status and the kernel's counters; complete when it ends with a newline
      workspace/             the unpacked project; workspace.new while an attempt after the first unpacks it
    <attempt>.times          an index of the times of the log's bytes, written by the controller
  pool/<workload>/           the run directory of a container that waits for a job; it is moved to the one that takes it
  pool/<workload>.*          its ticket: `ci_common.run_directory.tickets` says whose the container is
  processes/                 the process runtime's records; ci_controller.runtime.process.record draws one
  installation               which database the directory belongs to; see ci_common.owner_file

Files in a run directory are not trusted: `open_regular` follows no symbolic link and opens no FIFO or device, and all
functions limit how much they read.
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
from ci_common.jobs import Job

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
    """What the script wrote when the job's own code ended."""

    code: int
    """Exit status, 0 to 255."""
    terminated: bool
    """Whether the job had to stop (the mark `stopping`)."""
    oom_kills: int | None = None
    """How many processes the kernel killed out of memory during the last step; None if it does not report that."""
    refused_forks: int | None = None
    """How often the kernel refused a new process during the last step; None if it does not report that."""
    throttled_percent: int | None = None
    """The percentage of scheduling periods in which the limit on processors throttled the job; None if not known."""
    last: bool = False
    """Whether no process of the job was left, so that the log was complete."""
    killed: bool = False
    """Whether a signal killed the script, so that the runtime wrote this record instead."""


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor. Neither the file nor its directory may be a link.

    Raises FileNotFoundError if there is no such file, if it is not a regular file, or if its mode denies access. Other
    errors, such as too many open files, say nothing about the file: OSError.
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
    """Return at most the first `limit` bytes of a regular file, or None if there is none."""
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
    """The paths of one attempt, and the state of its marks. Making paths takes time, so keep an instance."""

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
        """Made before the job's processes are signalled, because a signal alone may come from the job itself."""
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
    def started(self) -> Path:
        return self.path / "started"

    @cached_property
    def times(self) -> Path:
        return self.path.with_name(self.path.name + ".times")

    def is_prepared(self) -> bool:
        """Return whether the directory is prepared, which is required before a workload is created."""
        return os.path.lexists(self.script)

    def is_waiting(self) -> bool:
        """Return whether the script has reached its gate."""
        return os.path.lexists(self.waiting)

    def is_gate_read(self) -> bool:
        """Return whether a process, which can only be the script, waits at the gate at this moment."""
        try:
            # The script then reads nothing, and opens the gate again.
            os.close(os.open(self.gate, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def is_started(self) -> bool:
        """Return whether the gate has opened, so that the job's own code may have run."""
        return os.path.lexists(self.started)

    def is_spent(self) -> bool:
        """Return whether the directory was cleared, which happens only after the attempt has completed.

        The gate is made before the log, and is removed first when a completed attempt is cleared; the log stays.
        """
        return os.path.lexists(self.log) and not os.path.lexists(self.gate)

    def started_at(self) -> datetime | None:
        """Return when the gate was opened, by its mark, or None if there is no mark."""
        try:
            return _instant(os.lstat(self.started))
        except FileNotFoundError:
            return None

    def started_uptime(self) -> float | None:
        """Return the uptime in seconds that the script noted when the gate opened, or None if it could not."""
        try:
            return float(read_capped(self.started, 32) or b"")
        except ValueError:
            return None

    def read_exit(self) -> ExitRecord | None:
        """Return the exit record, or None if there is no complete one."""
        match = _EXIT.fullmatch(read_capped(self.exit, _EXIT_BYTES) or b"")
        if match is None or int(match[1]) > 255:
            return None
        oom_kills, refused_forks, throttled = (None if text is None else int(text) for text in match.groups()[2:5])
        return ExitRecord(
            int(match[1]), bool(match[2]), oom_kills, refused_forks, throttled, bool(match[6]), bool(match[7])
        )

    def log_size(self) -> int:
        """Return the length of the log in bytes; 0 if there is none."""
        return self.log_growth()[0]

    def log_growth(self) -> tuple[int, datetime | None]:
        """Return the length of the log in bytes and the time of its last change; 0 and None if there is no log."""
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
        return None  # A job can give its files times that `datetime` cannot represent.


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
        """Make the directory and its two folders, which other users cannot enter, even if they can enter the directory.

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

    def run_of(self, job: Job) -> RunDirectory:
        """Return the run directory of the job's present attempt."""
        return self.run(job.id, job.attempt)

    def waiting_run(self, workload: str) -> RunDirectory:
        """Return the run directory of a warm container."""
        return RunDirectory(self.pool / workload)
