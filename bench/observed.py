"""A `ci` command that reports its number of asyncio tasks: on SIGUSR2 it writes the number into a file.

    BENCH_TASKS=FILE python -m bench.observed serve

For measurements only: the product itself has no such function.
"""

import asyncio
import os
import signal
from pathlib import Path
from types import FrameType

from ci_cli.main import main


def report(_: int, __: FrameType | None) -> None:
    """Write the number of tasks of the running loop."""
    place = Path(os.environ["BENCH_TASKS"])
    draft = place.with_name(f"{place.name}.new")
    try:
        draft.write_text(str(len(asyncio.all_tasks())))
    except RuntimeError:
        return  # No loop is running.
    draft.replace(place)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, report)
    main()
