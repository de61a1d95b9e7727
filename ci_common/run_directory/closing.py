"""The mark `<attempt>.closed`: what is appended to a log after it is shown to no reader.

The length of a log is measured before it can be written to the row. A reader that knows only the row of before would
go on with what is appended in between. Most logs are complete by then, but a job can write what its script writes, and
run on. So the controller makes the mark first, and then measures. A reader looks for the mark after it has read:
without a mark, what it has read was there before the mark, and so is part of what is measured.

The mark has the length that the log had just before. It lies beside the run directory, where no job in a container can
change it.
"""

import os

from ci_common.run_directory.layout import RunDirectory


def close_log(run: RunDirectory) -> None:
    """Make the mark, unless it is there. The log's length is to be measured after this. Raises OSError."""
    if os.path.lexists(run.closed):
        return
    draft = run.closed.with_name(f"{run.closed.name}.new")
    draft.write_text(str(run.log_size()))
    draft.replace(run.closed)


def shown_bytes(run: RunDirectory, size: int) -> int:
    """Return how many of the first `size` bytes of the log may be shown while the row has no length of it.

    To be called after they were read, or counted.
    """
    try:
        text = run.closed.read_bytes()
    except FileNotFoundError:
        return size
    return min(size, int(text or 0))  # It is empty where the machine has crashed since.


def forget_closing(run: RunDirectory, length: int) -> None:
    """Remove the mark of a log that nothing writes to any more, if it has no more than `length` bytes."""
    if run.log_size() <= length:
        run.closed.unlink(missing_ok=True)
