"""The layout of the data directory.

<data>/
  ca-certificates.crt        a copy of the host's own certificates, if it has any, mounted into containers
  incoming/<id>/             a submission that is being received and checked
  jobs/<job_id>/
    upload.zip               what was uploaded, for retries
    upload/                  the same for an upload by manifest: ci_common.manifests.stored draws it
    uncommitted              a mark of the API: the job's row may not be committed yet
    <attempt>/               the run directory: mounted into the container, so the job can write anything into it
      run                    the POSIX sh script that waits at the gate, the same for all jobs
      job                    the job as a POSIX sh script, which `run` continues with
      gate                   a FIFO; the script blocks on it until the controller writes `go`
      console                a FIFO that the runtime mounts as /dev/stdout and /dev/stderr, if it can
      stop                   a FIFO; the word `stop` makes the script send SIGTERM to all processes in a container
      stopping               a mark: the job has to stop; made before its processes are signalled
      signalled              a mark: the script has sent that SIGTERM
      waiting                a mark: the script has reached its gate
      started                a mark: the gate has opened; holds the uptime in seconds then, for the steps' times
      log                    stdout and stderr merged, in the order written
      steps.jsonl            one record per step as it starts and ends; after the end, written again by the controller
      exit                   exit status and the kernel's counters; complete when it ends with a newline
      outputs                what the job hands on, which $CI_OUTPUT names in the job
      summary.md             what the job says about itself, which $CI_SUMMARY names in the job
      run.json               the record of the attempt, written by the controller once nothing of it runs any more
      env/                   the job's own copy of its environment, where jobs run as processes
      reports/               what the job leaves as reports outside of the project, which $CI_REPORTS names in the job
      secrets.sh             what gives the job its secrets, until its code begins
      secrets/               the secrets that are files, which $CI_SECRETS names in the job
      caches/                archives of caches: N.in is put in place, N.out was packed; N.*.done: as a whole
      home/                  the job's home, where it runs without a container and has caches below ~
      workspace/             the unpacked project; workspace.new while an attempt after the first unpacks it
    <attempt>.times          an index of the times of the log's bytes, written by the controller
    <attempt>.closed         a mark: the length of the log is about to be written; ci_common.run_directory.closing
    <attempt>.masks          the values of secrets that are masked in the log while the attempt runs, sealed
    <attempt>.stored           a mark: the log is in the artifact store; ci_common.run_directory.stored
    <attempt>.caches         which caches the attempt has, written by the controller
    <attempt>.artifacts      which files of the attempt are kept, written by the controller
    <attempt>.services/      what the job's services wrote, NAME.log each, copied by the controller
  pool/<workload>/           the run directory of a container that waits for a job; it is moved to the one that takes it
  pool/<workload>.*          its ticket: `ci_common.run_directory.tickets` says whose the container is
  trees/                     the process runtime's environments; ci_controller.runtime.process.environments draws one
  caches/ID.tar              a cache, which never changes
  artifacts/<job_id>/        the contents of artifacts: <attempt>/<collection>/<number>, with .zst where compressed
  processes/                 the process runtime's records; ci_controller.runtime.process.record draws one
  installation               which database the directory belongs to; see ci_common.owner_file

Files in a run directory are not trusted: they are read by `ci_common.run_directory.untrusted_files`.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from ci_common.errors import Unavailable
from ci_common.jobs import Job
from ci_common.run_directory.attributes import make_place_of_trees
from ci_common.run_directory.exits import EXIT_BYTES, ExitRecord, parse_exit
from ci_common.run_directory.untrusted_files import open_regular, read_capped

UNCOMMITTED = "uncommitted"
LOG = "log"
UPLOAD = "upload"
STEPS = "steps.jsonl"
RECORD = "run.json"
KEPT = frozenset({LOG, STEPS, RECORD})
"""What is left of a run directory once its attempt has been cleared."""


def _entry(name: str) -> cached_property[Path]:
    return cached_property(lambda run: run.path / name)


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one attempt, and the state of its marks. Making paths takes time, so keep an instance."""

    path: Path

    script = _entry("run")
    job = _entry("job")
    gate = _entry("gate")
    console = _entry("console")
    stop = _entry("stop")
    stopping = _entry("stopping")
    """Made before the job's processes are signalled, because a signal alone may come from the job itself."""
    signalled = _entry("signalled")
    log = _entry(LOG)
    steps = _entry(STEPS)
    exit = _entry("exit")
    workspace = _entry("workspace")
    environment = _entry("env")
    """What a setup writes into, where jobs run as processes. Named by files in it, so its length matters."""
    home = _entry("home")
    reports = _entry("reports")
    outputs = _entry("outputs")
    secrets = _entry("secrets.sh")
    """What gives the job its secrets. Empty once its code has begun."""
    secret_files = _entry("secrets")
    """The directory with the secrets that are files."""
    summary = _entry("summary.md")
    record = _entry(RECORD)
    waiting = _entry("waiting")
    started = _entry("started")

    @cached_property
    def times(self) -> Path:
        return self.path.with_name(self.path.name + ".times")

    @cached_property
    def closed(self) -> Path:
        return self.path.with_name(self.path.name + ".closed")

    @cached_property
    def masks(self) -> Path:
        """What is masked in the log while the attempt runs. Out of the job's reach, like `times`."""
        return self.path.with_name(self.path.name + ".masks")

    @cached_property
    def stored(self) -> Path:
        return self.path.with_name(self.path.name + ".stored")

    @cached_property
    def services(self) -> Path:
        """The directory of the services' logs. It lies beside the run directory, so the job cannot change it."""
        return self.path.with_name(self.path.name + ".services")

    @cached_property
    def cache_record(self) -> Path:
        """What the controller knows of the caches of the attempt. The job cannot change it."""
        return self.path.with_name(self.path.name + ".caches")

    @cached_property
    def artifact_record(self) -> Path:
        """What the controller has kept of the files of the attempt. The job cannot change it."""
        return self.path.with_name(self.path.name + ".artifacts")

    def service_log(self, name: str) -> Path:
        return self.services / f"{name}.log"

    def is_prepared(self) -> bool:
        """Return whether the directory is prepared, which is required before a workload is created."""
        return os.path.lexists(self.script)

    def is_waiting(self) -> bool:
        """Return whether the script has reached its gate."""
        return os.path.lexists(self.waiting)

    def waiting_mark(self) -> tuple[int, int] | None:
        """Return what distinguishes the mark `waiting` from one that is made later, or None if there is none."""
        try:
            state = os.lstat(self.waiting)
        except FileNotFoundError:
            return None
        return state.st_ino, state.st_mtime_ns

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

        The gate is made before the log, and is removed first when a completed attempt is cleared; the log stays, or has
        gone to the artifact store and left a mark.
        """
        return (os.path.lexists(self.log) or os.path.lexists(self.stored)) and not os.path.lexists(self.gate)

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
        return parse_exit(read_capped(self.exit, EXIT_BYTES) or b"")

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
    def environments(self) -> Path:
        """Where prepared environments are made: a directory for each that is under way."""
        return self.path / "environments"

    @property
    def downloads(self) -> Path:
        """What setups have downloaded: a directory for each owner and project."""
        return self.path / "downloads"

    @property
    def caches(self) -> Path:
        """The archives of all caches."""
        return self.path / "caches"

    @property
    def artifacts(self) -> Path:
        """The contents of all artifacts, unless CI_ARTIFACTS_URL names another place."""
        return self.path / "artifacts"

    @property
    def tools(self) -> Path:
        """Copies of programs that containers are given."""
        return self.path / "tools"

    @property
    def processes(self) -> Path:
        return self.path / "processes"

    @property
    def trees(self) -> Path:
        """The environments of the process runtime. Its length and that of `jobs` matter."""
        return self.path / "trees"

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
            make_place_of_trees(self.incoming)
            make_place_of_trees(self.jobs)
        except OSError as exc:
            raise Unavailable(
                f"the data directory {self.path} cannot be made: {exc.strerror}; "
                "CI_DB_PATH and CI_DATA_DIR say where it is"
            ) from exc

    def job(self, job_id: str) -> Path:
        return self.jobs / job_id

    def upload(self, job_id: str) -> Path:
        """Return the archive that was uploaded for a job. Jobs by manifest have none."""
        return self.job(job_id) / "upload.zip"

    def stored_upload(self, job_id: str) -> Path:
        """Return the directory of a job's upload by manifest. Jobs with an archive have none."""
        return self.job(job_id) / UPLOAD

    def run(self, job_id: str, attempt: int) -> RunDirectory:
        return RunDirectory(self.job(job_id) / str(attempt))

    def run_of(self, job: Job) -> RunDirectory:
        """Return the run directory of the job's present attempt."""
        return self.run(job.id, job.attempt)

    def waiting_run(self, workload: str) -> RunDirectory:
        """Return the run directory of a warm container."""
        return RunDirectory(self.pool / workload)
