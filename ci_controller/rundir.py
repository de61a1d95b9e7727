"""Prepares a run directory and opens its gate. Reading it is `ci_common.layout`."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ci_common.ids import new_job_id
from ci_common.layout import RunDirectory
from ci_common.spec import ExecutionPlan
from ci_controller.script import Setup, write_script


def prepare(
    run: RunDirectory,
    plan: ExecutionPlan,
    *,
    base: Path,
    environment: Mapping[str, str],
    setup: Setup | None = None,
    has_console: bool = False,
) -> None:
    """Put script, FIFOs, log and workspace into the run directory. May be repeated until the workload is started.

    `base` is the directory as the job will see it, `environment` what the runtime gives every job, and `setup` what it
    does before this job's first step; `has_console` as the runtime says it.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    run.workspace.mkdir(exist_ok=True)
    for fifo in (run.gate, run.console) if has_console else (run.gate,):
        with suppress(FileExistsError):
            os.mkfifo(fifo)
    run.log.touch()
    # A name of its own: a controller that was stopped in here may go on beside the one that followed it.
    draft = run.path / f"run.{new_job_id()}"
    draft.write_bytes(write_script(plan, base=str(base), environment=environment, setup=setup, has_console=has_console))
    draft.replace(run.script)


def open_to_everyone(run: RunDirectory) -> None:
    """Let any user of the machine write below the run directory, for images and engines that use another user id.

    The data directory above is closed to others, so only whoever is given this directory by a mount gets at it.
    """
    for folder, folders, files in os.walk(run.path):
        for name in [".", *folders, *files]:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode):
                path.chmod(
                    stat.S_IMODE(mode) | (0o777 if stat.S_ISDIR(mode) else (mode & 0o100) // 0o100 * 0o111 | 0o666)
                )


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
