"""What a job's script would have written at its end, written in its place where a signal has ended it.

The job's processes may have replaced the files of the run directory, so no symbolic link is followed and no FIFO waited
for. Only the supervisor of a process needs this, which imports it in that case alone.
"""

import os
import re
from pathlib import Path

from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.times import uptime

_LAST_BYTES = 1024 * 1024
_LAST_START = re.compile(rb'\{"step":(\d{1,6}),"event":"start",[^\n]*\}\n?\Z')


def write_end(path: str, number: int) -> None:
    """Write into the run directory at `path` that signal `number` has ended the script, and with it the step it ran.

    Does nothing where the script has written its end already, or was at its gate still.
    """
    run = RunDirectory(Path(path))
    if run.read_exit() is not None or not run.is_started():
        return
    code = 128 + number
    step = _LAST_START.search(read_capped(run.steps, _LAST_BYTES) or b"")
    if step is not None:
        record = '{"step":%d,"event":"end","code":%d,"uptime":"%.2f","offset":"%d"}\n'
        _write(run.steps, record % (int(step[1]), code, uptime(), run.log_size()), os.O_APPEND)
    stopping = " term" if os.path.lexists(run.stopping) else ""
    _write(run.exit, f"{code}{stopping} killed\n", os.O_TRUNC)


def _write(path: Path, text: str, flag: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flag
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as exc:
        print(f"{path} cannot be written: {exc}", flush=True)
        return
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
