"""A `ci` command that tells from inside how many asyncio tasks it has: on SIGUSR2 it writes the number into a file.

    BENCH_TASKS=FILE python -m bench.observed serve

For measurements only: the product itself has no such door.
"""

import asyncio
import os
import signal
from pathlib import Path
from types import FrameType

from ci_cli.main import main


def tell(_: int, __: FrameType | None) -> None:
    """Write how many tasks the running loop has."""
    place = Path(os.environ["BENCH_TASKS"])
    draft = place.with_name(f"{place.name}.new")
    try:
        draft.write_text(str(len(asyncio.all_tasks())))
    except RuntimeError:
        return  # No loop runs yet, or any more.
    draft.replace(place)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, tell)
    main()
