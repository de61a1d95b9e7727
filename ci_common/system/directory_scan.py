"""Scans a directory that may have a million entries: in a thread, a few at a time, with pauses in between."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ci_common.system.tasks import in_thread

AT_ONCE = 200
"""Entries between two pauses."""
_LOAD = 9
"""After a scan of *t* seconds, pause for this many times *t*: scans take at most a tenth of the time."""

Found = TypeVar("Found")


async def scan_gently(
    directory: Path, examine: Callable[["os.DirEntry[str]"], Iterable[Found]]
) -> AsyncGenerator[list[Found], None]:
    """Yield what `examine` returns for the entries of the directory, in no order, for AT_ONCE entries at a time.

    `examine` runs in a thread. Memory and the share of a processor do not grow with the number of entries. Entries that
    are created or removed during the scan may be missed. Close the generator with `aclose` when done. Raises OSError.
    """
    with ExitStack() as opened:
        # Entered within the thread, so that it is closed even after a cancellation.
        entries = await in_thread(lambda: opened.enter_context(os.scandir(directory)))
        more = True
        while more:
            begun = time.perf_counter()
            more, found = await in_thread(_examined, entries, examine)
            pause = (time.perf_counter() - begun) * _LOAD
            if found:
                yield found
            if more:
                await asyncio.sleep(pause)


def _examined(
    entries: "Iterator[os.DirEntry[str]]", examine: Callable[["os.DirEntry[str]"], Iterable[Found]]
) -> tuple[bool, list[Found]]:
    """Return whether there may be more entries, and what was found in the next ones."""
    some = list(islice(entries, AT_ONCE))
    return len(some) == AT_ONCE, [found for entry in some for found in examine(entry)]
