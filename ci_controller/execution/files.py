"""The files of an attempt: its log is kept whole, its marks are observed beside the engine, its end is collected."""

import asyncio
import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from ci_common.attempts.parts import StartWay
from ci_common.jobs import Job, State, new_job_id
from ci_common.run_directory.attributes import make_append_only
from ci_common.run_directory.closing import close_log
from ci_common.run_directory.exits import ExitRecord
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.run_directory.masked_log import MaskedLog
from ci_common.run_directory.output import LogTimes, milestones_in_files, most_bytes, read_steps
from ci_common.run_directory.stored import StoredMark, read_mark
from ci_common.run_directory.untrusted_files import open_regular, read_capped
from ci_common.secrets.sealing import MaskKeeper
from ci_common.spec import ExecutionPlan
from ci_common.system.disk import Ballast, is_full
from ci_common.system.trees import Folder
from ci_controller.execution.protocol import Collected
from ci_controller.policy import Observation, WorkloadPhase, tells_all
from ci_controller.run_directory import preparation
from ci_controller.runtime.protocol import WAITING, EngineStatus, Runtime, WorkloadKey
from ci_controller.secrets.masking import finished_log

log = logging.getLogger(__name__)

SHORT_LOG = 64 * 1024
"""A log of fewer bytes takes less time to hash than a thread takes to start."""
_COMPARED_BYTES = 4096
_READ_ONLY = 0o444
_FIRST_RECORD = b'{"step":0,"event":"s'
_OFFSET = re.compile(rb'"offset":"(\d{1,18})"')
_ADVICE = "write to standard output, and with >&2 to standard error, and leave the files in the run directory alone"


def protect_log(run: RunDirectory) -> None:
    """Keep the log from being truncated and replaced, for a job whose script has it open for appending.

    Where the kernel cannot make it grow only, it may not be opened for writing any more, which keeps out all users but
    root.
    """
    if not make_append_only(run.log):
        with suppress(OSError):
            descriptor = open_regular(run.log)
            try:
                os.fchmod(descriptor, _READ_ONLY)
            finally:
                os.close(descriptor)


def damage_of(job: Job, run: RunDirectory, ended: ExitRecord | None) -> str | None:
    """Return what the job has done to the files that its run is recorded in, as far as they show it; None: nothing.

    `ended` is what its script wrote at its end, before which nothing is known.
    """
    if ended is None or job.state is not State.RUNNING:
        return None
    steps, size = len((job.plan or {}).get("steps", ())), run.log_size()
    records = read_capped(run.steps, most_bytes(steps)) or b""
    written = max((int(offset) for offset in _OFFSET.findall(records)), default=0)
    longest = max(written, LogTimes(run.times).last_length())
    if longest > size:
        return _shorter(longest, size)
    has_run = bool(records) or (ended.code == 0 and steps > 0)
    if has_run and not records.startswith(_FIRST_RECORD):
        return f"the job has changed or removed {run.steps.name}, the record of its steps; {_ADVICE}"
    return None


def _shorter(longest: int, size: int) -> str:
    return (
        f"the job has truncated or replaced its log, which had {longest} bytes and ended with {size}, as `>` and `tee` "
        f"do with /dev/fd/2 and other names of its output; {_ADVICE}"
    )


class LogGuard:
    """Follows the log of one running attempt: its length, and whether what was in it still is.

    It holds the file open, so that a log that is removed or replaced is not lost. `close` ends that.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._descriptor: int | None = None
        with suppress(OSError):
            self._descriptor = open_regular(run.log)
        self._seen = 0
        """The length that was seen last."""
        self._end = b""
        """The bytes before that."""
        self.damage: str | None = None
        """What the job has done to its log; None while nothing is known of it."""

    def look(self) -> int:
        """Return the length of the log, and note whether it has been changed."""
        if self._descriptor is None:
            return self._run.log_size()
        size = os.fstat(self._descriptor).st_size
        if self.damage is None:
            self._compare(self._descriptor, size)
        return size

    def _compare(self, descriptor: int, size: int) -> None:
        if not self._is_in_place(descriptor):
            self.damage = f"the job has removed or replaced its log; what was in it is kept; {_ADVICE}"
        elif size < self._seen:
            self.damage = _shorter(self._seen, size)
        elif os.pread(descriptor, len(self._end), self._seen - len(self._end)) != self._end:
            self.damage = f"the job has written over what was in its log, {self._seen} bytes; {_ADVICE}"
        elif size > self._seen:
            start = max(0, size - _COMPARED_BYTES)
            self._end = os.pread(descriptor, size - start, start)
            self._seen = start + len(self._end)

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            there = self._run.log.lstat()
        except FileNotFoundError:
            return False
        except OSError:
            return True  # It cannot be seen.
        return os.path.samestat(there, os.fstat(descriptor))

    def restore(self) -> None:
        """Put a log that was removed or replaced back in its place. For a job that has ended. Raises OSError."""
        if self._descriptor is None or self._is_in_place(self._descriptor):
            return
        name = self._run.log.name
        draft = f"{name}.{new_job_id()}"
        with Folder.opened(self._run.path) as folder:
            target = folder.create(draft, 0o600)
            try:
                position = 0
                while chunk := os.pread(self._descriptor, 1 << 20, position):
                    position += os.write(target, chunk)
            finally:
                os.close(target)
            if folder.has_folder(name):
                folder.delete(name)
            folder.move(draft, folder, name)

    def close(self) -> None:
        """Close the log. May be repeated."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Observer:
    """Observes attempts in run directories of this machine."""

    def __init__(self, runtime: Runtime, data: Path, ballast: Ballast) -> None:
        """`data` is the data directory, `ballast` the disk space that is reserved for the database."""
        self._runtime = runtime
        self._data = data
        self._ballast = ballast

    async def observe(self, job: Job, run: RunDirectory, workload: WorkloadKey, *, has_claim: bool) -> Observation:
        """Return what the engine and the run directory show of an attempt that runs in `workload`.

        `has_claim`: it has claimed a workload that had waited, whether it runs in that or not.
        """
        if (finished := self.finished(job, run)) is not None:
            return finished
        status = await self.look(job, run, workload)
        if (finished := self.finished(job, run)) is not None:
            return finished
        # The marks are read after the engine was asked: what has exited by then has left all it will ever leave.
        started, waiting, ended = run.is_started(), run.is_waiting(), run.read_exit()
        if job.state is State.RUNNING and status.phase is WorkloadPhase.RUNNING and not os.path.lexists(run.gate):
            started = True  # The job has removed the mark with the gate, which is there until it has completed.
        completed = job.state is State.COMPLETED
        return Observation(
            _phase(status.phase, waiting=waiting, started=started),
            exit=ended,
            started=started,
            finished=not completed and run.is_spent(),
            start_way=StartWay.WARM if workload.attempt == WAITING else StartWay.COLD,
            workload_exit_code=status.exit_code,
            out_of_memory=status.out_of_memory,
            disk_full=ended is None and self._is_disk_full(),
            log_damage=damage_of(job, run, ended),
            cleaned=not completed or (preparation.is_cleared(run) and not has_claim),
        )

    def finished(self, job: Job, run: RunDirectory) -> Observation | None:
        """Return the observation of an attempt whose script has said all there is to learn, else None."""
        has_run = job.state in (State.RUNNING, State.COMPLETED)
        if not has_run or not self._runtime.has_console:  # Without one, it cannot know.
            return None
        ended = run.read_exit()
        if ended is None or not tells_all(ended):
            return None
        damage = damage_of(job, run, ended)
        return Observation(WorkloadPhase.FINISHED, exit=ended, started=run.is_started(), log_damage=damage)

    async def look(self, job: Job, run: RunDirectory, workload: WorkloadKey) -> EngineStatus:
        """Ask the engine, unless files tell the same, which takes far less."""
        if job.state is State.STARTING and not run.is_prepared():
            return EngineStatus(WorkloadPhase.ABSENT)
        if job.state is State.STARTING and run.is_waiting() and not run.is_started() and run.is_gate_read():
            return EngineStatus(WorkloadPhase.RUNNING)
        return await self._runtime.look(workload)

    def _is_disk_full(self) -> bool:
        """Return whether the disk has no room, or had none and has only been given some back."""
        return is_full(self._data) or self._ballast.was_given_up_for(self._data)


def _phase(phase: WorkloadPhase, *, waiting: bool, started: bool) -> WorkloadPhase:
    """Return the phase of a workload of which the engine says `phase`, and whose script has made these marks."""
    if phase is not WorkloadPhase.RUNNING or started:
        return phase
    return WorkloadPhase.AT_GATE if waiting else WorkloadPhase.BOOTING


async def collect_files(job: Job, data: DataDirectory, keeper: MaskKeeper | None = None) -> tuple[Collected, MaskedLog]:
    """Return what is in the job's run directory, with the length that its log has from now on, and its log.

    The secrets in it are masked for good, by what `keeper` has of them. Raises NoRoom, OSError.
    """
    run = data.run(job.id, job.attempt)
    if job.state is State.RUNNING:
        _close_log(job, run)
    if (stored := _stored_elsewhere(run)) is not None:
        log, size, digest = MaskedLog(), stored.bytes, stored.sha256
    elif run.log_size() <= SHORT_LOG:
        log, size, digest = finished_log(job, run, keeper)
    else:
        log, size, digest = await asyncio.to_thread(finished_log, job, run, keeper)
    steps = read_steps(run, _step_names(job), job.start_time)
    return Collected(size, digest, steps, milestones=milestones_in_files(run)), log


def _stored_elsewhere(run: RunDirectory) -> StoredMark | None:
    """Return what the artifact store has of a log that is not here any more: the row is older than the files."""
    return None if os.path.lexists(run.log) else read_mark(run.stored)


def _close_log(job: Job, run: RunDirectory) -> None:
    try:
        close_log(run)
    except OSError as exc:  # As on a full disk, which must not keep the job from its end.
        log.warning("the log of job %s cannot be closed, so readers may see what is appended yet: %s", job.id, exc)


def _step_names(job: Job) -> tuple[str, ...]:
    """Return the names of the job's steps as far as they are known: a job whose plan cannot be read ends, too."""
    try:
        return tuple(step.name for step in ExecutionPlan.model_validate(job.plan).steps)
    except ValidationError:
        return ()


def note_end_of_log(job: Job, data: DataDirectory) -> None:
    """Note when the end of the attempt's log was there, unless that is noted. For one that has ended."""
    run = data.run(job.id, job.attempt)
    times, size = LogTimes(run.times), job.log_bytes or 0
    try:
        if job.end_time is not None and not run.stored.exists() and size > times.last_length():
            times.append(job.end_time, size)
    except OSError as exc:  # As on a full disk, which must keep nothing else from its end.
        log.warning("when the end of the log of job %s was written cannot be noted: %s", job.id, exc)


def write_record(run: RunDirectory, record: str, steps: str) -> bool:
    """Write the record of an attempt that has ended into its run directory; return whether that is done.

    A full disk, or what the job has put there, must not keep the files from being removed, which makes room.
    """
    try:
        preparation.write_record(run, record, steps)
    except OSError as exc:
        log.warning("the record of a run cannot be written into %s: %s", run.path, exc)
        return False
    return True
