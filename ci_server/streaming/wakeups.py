"""Wake-ups of one tail."""

from contextlib import ExitStack

from ci_common.run_directory.layout import RunDirectory
from ci_common.system.watch import FileWatcher, Watched

_LONGEST_WAIT = 60.0
"""Seconds after which a tail looks again by itself, should a wake-up have been lost."""


class Wakes(ExitStack):
    """Wake-ups by hand, and for changes of the run directory as long as a job runs in it."""

    def __init__(self, watcher: FileWatcher) -> None:
        super().__init__()
        self._watcher = watcher
        self._run: RunDirectory | None = None
        self._subscription = self.enter_context(watcher.subscribe())

    def watch(self, run: RunDirectory | None) -> None:
        """Come for changes of this directory, and of no other."""
        if run == self._run:
            return
        self._run = run
        paths = () if run is None else ((run.log, Watched.CONTENT), (run.path, Watched.ENTRIES))
        self.close()
        self._subscription = self.enter_context(self._watcher.subscribe(*paths))

    def wake(self) -> None:
        """Wake whoever waits."""
        self._subscription.wake()

    async def wait(self) -> None:
        """Return after a change, or after a minute."""
        await self._subscription.wait(_LONGEST_WAIT)
