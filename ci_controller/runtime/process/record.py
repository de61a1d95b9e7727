"""What the process runtime keeps of one workload: a directory that its supervisor writes and the controller reads.

<data>/processes/
  ended                        written to whenever a workload ends, so that one watch tells of all
  .removed-<key>-<n>/          a record that is being deleted
  <job_id>.<attempt>/
    lock                       there from the record's creation; held by the supervisor as long as it lives
    supervisor                 its identity, written before anything of the job runs
    script                     the identity of the job's first process, which leads its process group
    usage                      what the job used, written before `exit`
    exit                       how that ended: an exit status, written once nothing of the job is left
    output                     what supervisor and script have to say outside of the job's log
"""

import errno
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ci_common.attempts.outcomes import ResourceUse, Sample
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.system.processes import ProcessIdentity, members_of_group, start_time_of
from ci_common.system.trees import delete_tree
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.process.usage import final_use, measured
from ci_controller.runtime.protocol import EngineStatus

SETUP_RECORD = ".setup-"
"""What the names of records of setups that run apart from their jobs begin with: no job has them."""
_KILLS = 50
"""How often to kill the members of a group, which may fork in between."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One workload's record. Where it cannot be read, every method raises RuntimeUnavailable."""

    path: Path

    def create(self) -> None:
        """Make the record; the workload is in phase CREATED then. May be repeated."""
        with unreadable_is_unavailable():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path / "lock").touch(mode=0o600)

    def created(self) -> datetime | None:
        """Return when the record was made, or None where there is none."""
        with unreadable_is_unavailable():
            try:
                return datetime.fromtimestamp((self.path / "lock").stat().st_mtime, UTC)
            except FileNotFoundError:
                return None

    def is_taken(self) -> bool:
        """Return whether a supervisor has taken charge of the workload at any time."""
        return self._read("supervisor") is not None

    def is_kept(self) -> bool:
        """Return whether the supervisor that keeps this record is alive."""
        return self.created() is not None and self._is_locked()

    def look(self) -> EngineStatus:
        """Return what the record and the processes it names say."""
        if self.created() is None:
            return EngineStatus(WorkloadPhase.ABSENT)
        if not self.is_taken():
            return EngineStatus(WorkloadPhase.CREATED)
        runs = self._runs()
        code = self._read("exit")  # Read after the look at the processes: what ended in between has left it.
        if code is not None or not runs:
            return EngineStatus(WorkloadPhase.EXITED, exit_code=int(code) if code else None)
        return EngineStatus(WorkloadPhase.RUNNING)

    def sample(self) -> Sample | None:
        """Return what the processes use that run; None if that cannot be seen from here."""
        supervisor = self._identity("supervisor")
        return measured(supervisor.pid) if supervisor is not None and supervisor.is_alive() else None

    def final_use(self) -> ResourceUse | None:
        """Return what the job used in all, once it has ended; None if its supervisor could not tell."""
        return final_use(self._read("usage"))

    def send(self, number: signal.Signals) -> None:
        """Send the job SIGTERM, or SIGKILL to all of it. Does nothing where it does not run.

        Raises RuntimeUnavailable where it runs in another pid namespace, from which it cannot be reached.
        """
        supervisor, script = self._identity("supervisor"), self._identity("script")
        if supervisor is not None and not supervisor.is_here():
            if self._is_locked():
                raise RuntimeUnavailable("the job's supervisor runs in another pid namespace and cannot be signalled")
        elif supervisor is not None and supervisor.is_alive():
            _send(supervisor, signal.SIGCONT)
            _send(supervisor, signal.SIGTERM if number == signal.SIGTERM else signal.SIGUSR1)
        elif script is not None and script.is_alive():
            _send(script, number, group=True)

    def kill_left(self) -> None:
        """Kill what is left of the group of a script that has ended, which a supervisor that was killed did not.

        Processes that the job has put into other groups are not found.
        """
        supervisor, script = self._identity("supervisor"), self._identity("script")
        if supervisor is None or script is None or not script.is_here() or self._read("exit") is not None:
            return
        if supervisor.is_alive() or start_time_of(script.pid) is not None:
            return  # A process that has got its pid since shows that the group is empty.
        for _ in range(_KILLS):
            if not (members := members_of_group(script.pid)):
                return
            for member in members:
                _send(member, signal.SIGKILL)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Yield whether no supervisor has the lock; none can take it, and so take charge, until this is left."""
        with unreadable_is_unavailable():
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _runs(self) -> bool:
        supervisor, script = self._identity("supervisor"), self._identity("script")
        if supervisor is not None and not supervisor.is_here():
            return self._is_locked()
        # A script whose supervisor was killed goes on, and may yet write its result.
        return any(process is not None and process.is_alive() for process in (supervisor, script))

    def _is_locked(self) -> bool:
        with self.locked() as free:
            return not free

    def _identity(self, name: str) -> ProcessIdentity | None:
        text = self._read(name)
        try:
            return None if text is None else ProcessIdentity.from_json(text)
        except ValueError:
            return None

    def _read(self, name: str) -> str | None:
        with unreadable_is_unavailable():
            try:
                return (self.path / name).read_text()
            except FileNotFoundError:
                return None


def forget_copied_records(data: DataDirectory) -> None:
    """Delete the records that came with a copy of another data directory: what they name is not ours to signal.

    A supervisor holds the lock of its own record, wherever that was moved to, and never that of a copy.
    """
    with unreadable_is_unavailable():
        entries = list(os.scandir(data.processes)) if data.processes.is_dir() else []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not ProcessRecord(Path(entry.path)).is_kept():
                delete_tree(Path(entry.path))


@contextmanager
def unreadable_is_unavailable() -> Iterator[None]:
    """Translate errors of the file system: they tell nothing of the workload."""
    try:
        yield
    except OSError as exc:
        raise RuntimeUnavailable(f"the records of the process runtime cannot be used: {exc}") from exc


def _send(process: ProcessIdentity, number: signal.Signals, *, group: bool = False) -> None:
    """Send a signal to exactly this process, or to the group it leads; to none if it has gone."""
    try:
        descriptor = _pidfd_of(process.pid)
    except ProcessLookupError:
        return
    try:
        # With the descriptor open, a process that is alive here is the one that it stands for.
        if not process.is_alive():
            return
        if group:
            os.killpg(process.pid, number)
        elif descriptor is not None:
            signal.pidfd_send_signal(descriptor, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        pass
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _pidfd_of(pid: int) -> int | None:
    """Return a descriptor that stands for this process for all time, or None where the system has none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as exc:
        if exc.errno == errno.ENOSYS:  # Linux before 5.3.
            return None
        raise
