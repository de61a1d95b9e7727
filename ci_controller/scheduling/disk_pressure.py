"""Ends the job that takes most of a full disk, since nothing else would make room on it.

A job that fills the disk and goes on leaves no room for the ends of other jobs, for cancellations and deletions. It
would also fill the room that is reserved for these (`ci_common.system.disk`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ci_common.run_directory.layout import DataDirectory
from ci_common.system.disk import Ballast, is_full

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
PATIENCE_LOOKS = 2
"""How many looks in a row have to find the disk full: a job that fails for that ends by itself."""
PAUSE_SECONDS = 5.0
"""How long the end of a job may take to show on the disk, before another one is ended."""


class Scarcity:
    """Watches the disk with the jobs' files for one leader's term."""

    def __init__(self, data: DataDirectory, ballast: Ballast, end_greediest: Callable[[], Awaitable[bool]]) -> None:
        """`end_greediest` has the running job ended that takes most of the disk, and returns whether there is one."""
        self._data = data
        self._ballast = ballast
        self._end_greediest = end_greediest

    async def run(self) -> None:
        """Watch until cancelled. A look costs a few microseconds."""
        found_full = 0
        while True:
            found_full = found_full + 1 if self._is_full() else 0
            ended = False
            if found_full >= PATIENCE_LOOKS:
                ended = await self._end_greediest()
                found_full = 0
            await asyncio.sleep(PAUSE_SECONDS if ended else LOOK_SECONDS)

    def _is_full(self) -> bool:
        """Return whether the disk has no room, or no more than what was kept back for the database."""
        return is_full(self._data.path) or self._ballast.is_missed_for(self._data.path)
