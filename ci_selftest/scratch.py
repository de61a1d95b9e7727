"""The scratch directory of one run. It holds all files of the run, and all processes of the run name it.

It is locked while the run lives, so that the next run can recognise and remove the remains of a killed one.
"""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ci_common.run_directory.attributes import allow_changes_to_logs, make_append_only
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.trees import unlink

_PREFIX = "run-"
_KEPT_PREFIX = "kept-"
_GONE_WITHIN_SECONDS = 10.0
_IN_CANARY = ("inner/file", "d0/file", "workspace/file")


class Scratch:
    """The paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "ci_jobs.db"
        """The database, unless the run has a schema in a server's."""
        self.schema = f"ci_selftest_{path.name.removeprefix(_PREFIX)}"
        self.installation_id = path / "installation_id"
        """A file with the id by which containers are found; it is written once that is known."""
        self.data = DataDirectory(path / "data")
        self.logs = path / "logs"
        """The logs of the parts, a file each."""
        self.clients = path / "clients"
        """The output of the client processes."""
        self.projects = path / "projects"
        self.witnesses = path / "witnesses"
        """Files in which jobs of the process runtime record their starts."""
        self.canary = path / "canary"
        """A directory that some jobs try to change by links in their own directory."""
        self.temporary = path / "tmp"
        """The parts' TMPDIR."""
        self.state = path / "state"
        """The parts' XDG_STATE_HOME."""
        self.container_prefix = f"ci-selftest-{path.name.removeprefix(_PREFIX)}-"

    def runtime(self) -> str:
        """Return the runtime of the run's jobs."""
        return (self.path / "runtime").read_text()

    def keeps_logs(self) -> bool:
        """Return whether file system or user prevent jobs from truncating their logs."""
        if self.runtime() == "process" and os.geteuid() != 0:
            return True
        probe = self.path / "probe"
        probe.touch()
        kept = make_append_only(probe)
        unlink(probe)
        return kept

    def create(self, runtime: str) -> None:
        """Create all folders except the product's own."""
        (self.path / "runtime").write_text(runtime)
        for folder in (self.logs, self.clients, self.projects, self.witnesses, self.temporary, self.state):
            folder.mkdir()
        for name in _IN_CANARY:
            (self.canary / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.canary / name).write_text(name)

    def what_escaped(self) -> list[str]:
        """Return what was changed in the canary directory, relative to it."""
        there = {str(path.relative_to(self.canary)): path.lstat() for path in self.canary.rglob("*")}
        folders = {str(Path(name).parent) for name in _IN_CANARY}
        wrong = there.keys() ^ {*_IN_CANARY, *folders}
        wrong |= {name for name, state in there.items() if state.st_mode & 0o077 and name in folders}
        wrong |= {name for name in _IN_CANARY if name in there and (self.canary / name).read_text() != name}
        return sorted(wrong)

    def keep(self) -> Path:
        """Keep the directory under another name, for people to examine, and return its path."""
        kept = self.path.with_name(self.path.name.replace(_PREFIX, _KEPT_PREFIX, 1))
        self.path.rename(kept)
        return kept


@contextmanager
def scratch_directory(parent: Path, runtime: str) -> Iterator[Scratch]:
    """Yield a new directory below `parent`, and remove it at the end unless it was kept."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = Scratch(path)
        scratch.create(runtime)
        yield scratch
    finally:
        _delete(Scratch(path))
        os.close(lock)


@contextmanager
def abandoned(parent: Path) -> Iterator[list[Scratch]]:
    """Yield the directories of killed runs, lock them while the block runs, and remove them at its end."""
    held: list[tuple[Scratch, int]] = []
    try:
        for path in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # It is another run's, or was just removed.
                lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(lock)
                else:
                    held.append((Scratch(path), lock))
        yield [scratch for scratch, _ in held]
        for scratch, _ in held:
            _delete(scratch)
    finally:
        for _, lock in held:
            os.close(lock)


def _delete(scratch: Scratch) -> None:
    allow_changes_to_logs(scratch.data.path)  # Jobs that ran until now left theirs append-only.
    shutil.rmtree(scratch.path, ignore_errors=True)


def processes_of(scratch: Scratch) -> list[int]:
    """Return the pids of the processes whose arguments, environment or working directory name this directory.

    Its name is random, so no other process names it. On other systems than Linux, none is found.
    """
    mark = os.fsencode(scratch.path)
    return [int(name) for name in _listdir(Path("/proc")) if name.isdecimal() and _names(Path("/proc", name), mark)]


def command_of(pid: int) -> str:
    """Return the arguments of a process, nothing where it has ended."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _names(process: Path, mark: bytes) -> bool:
    return int(process.name) != os.getpid() and any(mark in text for text in _words_of(process))


def _words_of(process: Path) -> Iterator[bytes]:
    with suppress(OSError):  # It is another user's, or has just ended.
        yield os.fsencode(os.readlink(process / "cwd"))
        yield (process / "cmdline").read_bytes()
        yield (process / "environ").read_bytes()


def _listdir(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def kill_processes_of(scratch: Scratch) -> int:
    """Kill all of them, also those that they still start, and return their number."""
    killed: set[int] = set()
    deadline = time.monotonic() + _GONE_WITHIN_SECONDS
    while (pids := processes_of(scratch)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(pids)
        time.sleep(0.02)
    return len(killed)
