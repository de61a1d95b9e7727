"""Prepares a run directory and opens its gate. `ci_common.run_directory.layout` reads it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ci_common.run_directory.layout import RunDirectory
from ci_common.system.trees import Folder
from ci_controller.run_directory.gate_script import GATE_SCRIPT


def prepare(run: RunDirectory, script: bytes, *, has_console: bool) -> None:
    """Put all that the job of `script` needs into the run directory. May be repeated until the workload is started.

    `has_console` as the runtime says it. A workload that ended before its gate may have left anything in the place of
    these files, and the engine follows a link that it is to mount: what is not of the right kind is made again.
    """
    prepare_gate(run, has_console=has_console)
    with Folder.opened(run.path) as folder:
        folder.make_folder(run.workspace.name)
        folder.write(run.job.name, script)


def prepare_gate(run: RunDirectory, *, has_console: bool) -> None:
    """Put into the run directory all that a workload needs to wait at its gate. May be repeated until it is started."""
    run.path.mkdir(parents=True, exist_ok=True)
    with Folder.opened(run.path) as folder:
        for fifo in (run.gate, run.console, run.stop) if has_console else (run.gate,):
            folder.make_fifo(fifo.name)
        folder.make_file(run.log.name)
        folder.write(run.script.name, GATE_SCRIPT)


def has_workspace(run: RunDirectory) -> bool:
    """Return whether the run directory has a workspace, which a link to one is not."""
    return (state := _state(run.workspace)) is not None and stat.S_ISDIR(state.st_mode)


def is_there(run: RunDirectory) -> bool:
    """Return whether there is a run directory, which a link to one is not."""
    return (state := _state(run.path)) is not None and stat.S_ISDIR(state.st_mode)


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def move_in(run: RunDirectory, waiting: RunDirectory, script: bytes) -> bool:
    """Make `waiting`, where a workload waits at its gate, the run directory `run` of the job of `script`.

    The workspace that the job has already goes along. May be repeated, wherever it broke off. Returns False, with
    nothing lost, where something else of the job's is in the way. The image's own programs run in there, too.
    """
    workspace = run.workspace.name
    with Folder.opened(waiting.path) as folder:
        if has_workspace(run):
            with Folder.opened(run.path) as project:
                project.move(workspace, folder, workspace)
        folder.make_folder(workspace)
        is_open = bool(os.fstat(folder.descriptor).st_mode & stat.S_IWOTH)
        # What the script has made there may be another user's, who has it open already.
        folder.write(waiting.job.name, script, for_everyone=is_open)
        if is_open:
            with folder.folder(workspace) as opened:
                opened.open_to_everyone()
    run.path.parent.mkdir(exist_ok=True)
    try:
        waiting.path.rename(run.path)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def is_free(run: RunDirectory) -> bool:
    """Return whether nothing is in the way of moving in there."""
    try:
        return set(os.listdir(run.path)) <= {run.workspace.name}
    except FileNotFoundError:
        return True


def move_out(run: RunDirectory, waiting: RunDirectory) -> None:
    """Give the job of `run` its workspace back, as far as `move_in` moved it; for code that has not begun.

    May be repeated. Call it once the workload is gone.
    """
    if has_workspace(waiting):
        run.path.mkdir(parents=True, exist_ok=True)
        with Folder.opened(waiting.path) as folder, Folder.opened(run.path) as project:
            folder.move(waiting.workspace.name, project, run.workspace.name)


def open_to_everyone(run: RunDirectory) -> None:
    """Let any user of the machine write below the run directory, for images and engines that use another user id.

    The data directory above is closed to others, so only those that are given this directory by a mount get at it.
    """
    with Folder.opened(run.path) as folder:
        folder.open_to_everyone()


@contextmanager
def opened_gate(run: RunDirectory) -> Iterator[None]:
    """Write `go` into the gate and hold it open, so that a script that comes to it late still reads the word.

    Leave it once the mark `started` is there or the workload has ended. If nothing waits there, nothing happens.
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
    """Delete the files of a run directory, but its log, that can be deleted at once; return what is left.

    The gate goes first: from then on the directory tells that its attempt is over (`RunDirectory.is_spent`). To be
    called once the workload is gone.
    """
    if not is_there(run):
        # A process can put something else in its place, which holds no log.
        with suppress(FileNotFoundError), Folder.opened(run.path.parent) as job:
            job.delete(run.path.name)
        return []
    left: list[Path] = []
    with Folder.opened(run.path) as folder:
        for name in sorted(folder.names() - {run.log.name}, key=lambda name: name != run.gate.name):
            try:
                if folder.has_folder(name):
                    left.append(run.path / name)
                else:
                    folder.delete(name)
            except PermissionError:
                left.append(run.path / name)
    return left


def is_cleared(run: RunDirectory) -> bool:
    """Return whether nothing but the log is left of a run directory."""
    try:
        return set(os.listdir(run.path)) <= {run.log.name}
    except FileNotFoundError:
        return True
