"""Prepares a run directory, gives one that waits to a job, and opens its gate. Reading it is `ci_common.layout`."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ci_common.append_only import unlink
from ci_common.ids import new_job_id
from ci_common.layout import RunDirectory
from ci_controller.gate_script import GATE_SCRIPT
from ci_controller.trees import delete_tree


def prepare(run: RunDirectory, script: bytes, *, has_console: bool) -> None:
    """Put all that the job of `script` needs into the run directory. May be repeated until the workload is started.

    `has_console` as the runtime says it.
    """
    prepare_gate(run, has_console=has_console)
    run.workspace.mkdir(exist_ok=True)
    _replace(run.job, script)


def prepare_gate(run: RunDirectory, *, has_console: bool) -> None:
    """Put into the run directory all that a workload needs to wait at its gate. May be repeated until it is started."""
    run.path.mkdir(parents=True, exist_ok=True)
    for fifo in (run.gate, run.console, run.stop) if has_console else (run.gate,):
        with suppress(FileExistsError):
            os.mkfifo(fifo)
    run.log.touch()
    _replace(run.script, GATE_SCRIPT)


def _replace(path: Path, content: bytes) -> None:
    # A name of its own: a controller that was stopped in here may go on beside the one that followed it.
    draft = path.with_name(f"{path.name}.{new_job_id()}")
    draft.write_bytes(content)
    draft.replace(path)


def move_in(run: RunDirectory, waiting: RunDirectory, script: bytes) -> bool:
    """Make `waiting`, where a workload waits at its gate, the run directory `run` of the job of `script`.

    The workspace that the job has already goes along. May be repeated, wherever it broke off. Returns False, with
    nothing lost, where something else of the job's is in the way.
    """
    if run.workspace.is_dir():
        run.workspace.rename(waiting.workspace)
    waiting.workspace.mkdir(exist_ok=True)
    _replace(waiting.job, script)
    if waiting.path.stat().st_mode & stat.S_IWOTH:
        # What the script has made meanwhile may be another user's, who has it open already.
        _open_to_everyone(waiting.job)
        _open_tree_to_everyone(waiting.workspace)
    run.path.parent.mkdir(exist_ok=True)
    try:
        waiting.path.rename(run.path)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def doom(waiting: RunDirectory) -> None:
    """Note that what waits here is being removed, for a controller that finds it before it is gone."""
    # Where it is gone already, or the disk is full, its removal helps all the same.
    with suppress(OSError):
        waiting.doomed.touch()


def is_free(run: RunDirectory) -> bool:
    """Tell whether nothing is in the way of moving in there."""
    try:
        return set(os.listdir(run.path)) <= {run.workspace.name}
    except FileNotFoundError:
        return True


def move_out(run: RunDirectory, waiting: RunDirectory) -> None:
    """Undo `move_in`, as far as it went, for a job whose code has not begun. May be repeated."""
    if waiting.workspace.is_dir():
        run.path.mkdir(parents=True, exist_ok=True)
        waiting.workspace.rename(run.workspace)
    delete_tree(waiting.path)


def open_to_everyone(run: RunDirectory) -> None:
    """Let any user of the machine write below the run directory, for images and engines that use another user id.

    The data directory above is closed to others, so only whoever is given this directory by a mount gets at it.
    """
    _open_tree_to_everyone(run.path)


def _open_tree_to_everyone(top: Path) -> None:
    for folder, folders, files in os.walk(top):
        for name in [".", *folders, *files]:
            _open_to_everyone(Path(folder, name))


def _open_to_everyone(path: Path) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode) | (0o777 if stat.S_ISDIR(mode) else (mode & 0o100) // 0o100 * 0o111 | 0o666))


@contextmanager
def opened_gate(run: RunDirectory) -> Iterator[None]:
    """Write `go` into the gate and hold it open, so that a script that comes to it late still reads the word.

    Leave it once the mark `started` is there or the workload has ended. Opening a gate nobody waits at does nothing.
    """
    # Opened for reading too, so that neither the opening nor the writing waits for the other side.
    descriptor = os.open(run.gate, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.write(descriptor, b"go\n")
        yield
    finally:
        os.close(descriptor)


def mark_stopping(run: RunDirectory) -> None:
    """Note that the job is to stop, for its script, before any of its processes is signalled."""
    # Without the mark, as where the disk takes no further file, the job is stopped all the same.
    with suppress(OSError):
        os.close(os.open(run.stopping, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644))


def send_stop(run: RunDirectory) -> bool:
    """Have SIGTERM sent to all of the job's processes in a container; return whether a process there has been told."""
    try:
        descriptor = os.open(run.stop, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode) and os.write(descriptor, b"stop\n") > 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def clear(run: RunDirectory) -> list[Path]:
    """Delete the files of a run directory, but its log, that can be deleted at once; return the directories left.

    The gate goes first: from then on the directory tells that its attempt is over (`RunDirectory.is_spent`).
    """
    left: list[Path] = []
    with suppress(FileNotFoundError):
        run.gate.unlink()
    with suppress(FileNotFoundError), os.scandir(run.path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left.append(Path(entry.path))
            elif entry.name != run.log.name:
                unlink(entry.path)
    return left


def is_cleared(run: RunDirectory) -> bool:
    """Tell whether nothing but the log is left of a run directory."""
    try:
        return set(os.listdir(run.path)) <= {run.log.name}
    except FileNotFoundError:
        return True
