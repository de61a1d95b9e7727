"""What wakes the supervisor of one attempt: files of its run directory, what others tell it, limits, and time."""

import asyncio
import logging
from collections.abc import Callable

from ci_common.jobs import Job, State
from ci_common.system.watch import FileWatcher, Watched
from ci_controller.execution.protocol import Execution
from ci_controller.execution.usage import UsageWatch

log = logging.getLogger(__name__)

GLANCE_SECONDS = 0.02
"""How long after something happened to a running job to look at its files alone, before asking what runs it.

Mostly it is a step that ends, and the job with it, which the files tell sooner.
"""


class Attention:
    """One supervisor's wake-ups. `close` ends them."""

    def __init__(self, execution: Execution, watcher: FileWatcher) -> None:
        self._execution = execution
        self._watcher = watcher
        self._wakeups = watcher.subscribe()
        self._sees_files = False
        self._following: asyncio.Task[None] | None = None
        self.usage: UsageWatch | None = None
        """What the job uses, from before its gate opens."""
        self.was_woken = asyncio.Event()
        """Set once something has happened of which no file tells; cleared by whoever waits for the next such thing."""

    def wake(self) -> None:
        """Have the supervisor look again soon: something has happened of which no file tells."""
        self.was_woken.set()
        self._wakeups.wake()

    def wake_after(self, work: "asyncio.Future[None]") -> None:
        """Have whoever waits here look again once `work` is done."""
        work.add_done_callback(lambda _: self._wakeups.wake())

    def close(self) -> None:
        self._wakeups.close()
        self.stop_following_usage()

    def watch(self, job: Job) -> None:
        """Once the run directory exists, wake for files that appear in it, and follow what a job that runs uses."""
        directory = self._execution.watched(job)
        if directory is None:
            return
        if not self._sees_files:
            before, self._wakeups = self._wakeups, self._watcher.subscribe((directory, Watched.ENTRIES))
            before.close()
            self._sees_files = True
        if job.state is State.RUNNING and self.usage is None:
            self._follow_usage(job)

    def _follow_usage(self, job: Job) -> None:
        self.usage = self._execution.usage_watch(job, self._watcher, self.wake)
        if self.usage is not None:
            self._following = asyncio.create_task(self.usage.run(), name=f"usage of {job.id}")
            self._following.add_done_callback(_say_what_failed)

    def stop_following_usage(self) -> None:
        """Measure nothing more."""
        if self._following is not None:
            self._following.cancel()
        if self.usage is not None:
            self.usage.close()

    async def until(self, has_come: Callable[[], bool], seconds: float) -> None:
        """Wait until something has come, of which files or the engine tell, for so many seconds at most."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while not has_come() and clock() < until:
            await self.wait(until - clock())

    async def glance(self, job: Job) -> bool:
        """Let a job that runs come to its end, if it is about to; return whether it has.

        Then its row need not be read again: nobody else writes it, and a request to cancel it comes too late.
        """
        await self.until(lambda: self._execution.has_ended(job), GLANCE_SECONDS)
        return self._execution.has_ended(job)

    async def wait(self, seconds: float) -> None:
        """Wait until something has happened, for so many seconds at most."""
        await self._wakeups.wait(max(0.0, seconds))


def _say_what_failed(following: "asyncio.Task[None]") -> None:
    if not following.cancelled() and following.exception() is not None:
        log.error("the %s is not followed any more", following.get_name(), exc_info=following.exception())
