"""Watches one attempt in a run directory of this machine: its wake-ups, and what the job uses while it runs.

Its log is followed as it grows, its workspace is measured as often as that costs little.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from ci_common.errors import LeadershipLost
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.output import TIMES_SECONDS, LogTimes
from ci_common.system.disk import measure_tree
from ci_common.system.watch import FileWatcher, Watched
from ci_common.times import Clock, uptime
from ci_controller.execution.files import LogGuard
from ci_controller.execution.serving import ServiceWatch, services_of
from ci_controller.policy import JobLimits, Observation, Usage, WorkloadPhase, has_ended, limits_of
from ci_controller.results.resources import Measure, ResourceWatch
from ci_controller.runtime.protocol import Check

log = logging.getLogger(__name__)

FASTEST_WRITER = 1e9
"""Bytes per second that no job writes: its log is checked before it could have passed its limit."""
SHORTEST_PAUSE = 0.005
WORKSPACE_SECONDS = 2.0
"""The least time between two measurements of a workspace; they take at most one part in MEASURING_SHARE of it."""
MEASURING_SHARE = 20


class UsageWatch:
    """Follows one running attempt, in `run`, until it is cancelled.

    It keeps the log's index of times, and calls `exceeded` as soon as the log or the workspace is over its limit.
    `close` closes the log.
    """

    def __init__(
        self,
        run: RunDirectory,
        limits: JobLimits,
        *,
        watcher: FileWatcher,
        clock: Clock,
        measuring: asyncio.Lock,
        exceeded: Callable[[], None],
        check: Check,
    ) -> None:
        """`measuring` lets one workspace be measured at a time; `check` is called before the index is written."""
        self._run_directory = run
        self._limits = limits
        self._watcher = watcher
        self._clock = clock
        self._measuring = measuring
        self._exceeded = exceeded
        self._check = check
        self.guard = LogGuard(run)
        self.workspace_bytes: int | None = None
        """What the workspace had when it was last measured; None before that, or where it has no limit."""
        self.first_output: float | None = None
        """The machine's uptime in seconds when the log was first seen to have bytes; None before that."""

    async def run(self) -> None:
        """Follow log and workspace. What goes wrong with one leaves the other alone."""
        parts: dict[str, Coroutine[Any, Any, None]] = {"log": self._follow_log()}
        if self._limits.workspace is not None:
            parts["workspace"] = self._follow_workspace(self._limits.workspace)
        await asyncio.gather(*(self._reported(name, part) for name, part in parts.items()))

    async def _reported(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except (OSError, LeadershipLost) as exc:
            log.warning("%s: its %s is not followed any more: %s", self._run_directory.path, name, exc)

    async def _follow_log(self) -> None:
        now, limit = asyncio.get_running_loop().time, self._limits.log
        times = LogTimes(self._run_directory.times)
        noted, told = times.last_length(), False
        seen: tuple[datetime, int] | None = None
        """What is to be noted next. Files are not made while a job that only begins has other things to do."""
        due = math.inf
        with self._watcher.subscribe((self._run_directory.log, Watched.CONTENT)) as writes:
            while True:
                size = self.guard.look()
                self._see_first_output(size)
                if limit is not None and size > limit and not told:
                    self._exceeded()
                    told = True
                if seen is not None and now() >= due:
                    self._note(times, *seen)
                    noted, seen = seen[1], None
                if seen is None and size > noted:
                    seen, due = (self._clock(), size), now() + TIMES_SECONDS
                await writes.wait(60.0 if seen is None else max(0.0, due - now()))
                if self.first_output is None:  # The pause would be in it.
                    self._see_first_output(self.guard.look())
                await asyncio.sleep(_pause(None if told or limit is None else limit - size))

    def close(self) -> None:
        self.guard.close()

    def _see_first_output(self, size: int) -> None:
        if size > 0 and self.first_output is None:
            self.first_output = uptime()

    def _note(self, times: LogTimes, instant: datetime, size: int) -> None:
        self._check()
        try:
            times.append(instant, size)
        except OSError as exc:  # A full disk must not let the log go unwatched.
            log.warning("%s: when its log was written cannot be noted: %s", self._run_directory.path, exc)

    async def _follow_workspace(self, limit: int) -> None:
        while True:
            async with self._measuring:
                begun = time.monotonic()
                self.workspace_bytes = await measure_tree(self._run_directory.workspace, enough=limit)
                took = time.monotonic() - begun
            if self.workspace_bytes > limit:
                self._exceeded()
            await asyncio.sleep(max(WORKSPACE_SECONDS, MEASURING_SHARE * took))


class AttemptWatch:
    """The `Wakeups` of one attempt, and the `UsageWatch` of its job while that runs. `close` ends both."""

    def __init__(
        self,
        run: RunDirectory,
        *,
        watcher: FileWatcher,
        clock: Clock,
        measuring: asyncio.Lock,
        check: Check,
        measure: Measure | None = None,
    ) -> None:
        """`measuring` and `check` as `UsageWatch` has them, `measure` as `ResourceWatch`."""
        self._run = run
        self._watcher = watcher
        self._clock = clock
        self._measuring = measuring
        self._check = check
        self._wakeups = watcher.subscribe()
        self._sees_files = False
        self._following: asyncio.Task[None] | None = None
        self.usage: UsageWatch | None = None
        """What the job uses, from before its gate opens."""
        self._measure = measure
        self._sampling: asyncio.Task[None] | None = None
        self.resources: ResourceWatch | None = None
        """The samples of what the job uses."""
        self.services: ServiceWatch | None = None
        """The job's services, if it has any and they are followed."""
        self.heard = asyncio.Event()
        """Set when something happened that no file tells; cleared by the task that waits for the next such thing."""

    def wake(self) -> None:
        self.heard.set()
        self._wakeups.wake()

    async def wait(self, seconds: float) -> None:
        await self._wakeups.wait(max(0.0, seconds))

    def peek(self, job: Job) -> WorkloadPhase | None:
        if self._run.read_exit() is not None:
            return WorkloadPhase.FINISHED
        if self._run.is_started():
            return WorkloadPhase.RUNNING
        if services_of(job) and (self.services is None or not self.services.are_ready):
            return None
        return WorkloadPhase.AT_GATE if self._run.is_waiting() else None

    def follow(self, job: Job) -> None:
        """Wake for files in the run directory once it is prepared, and follow what a job that runs uses."""
        if not self._sees_files and self._run.is_prepared():
            before, self._wakeups = self._wakeups, self._watcher.subscribe((self._run.path, Watched.ENTRIES))
            before.close()
            self._sees_files = True
        if job.state is State.RUNNING and self.usage is None and self._sees_files:
            self.usage = UsageWatch(
                self._run,
                limits_of(job),
                watcher=self._watcher,
                clock=self._clock,
                measuring=self._measuring,
                exceeded=self.wake,
                check=self._check,
            )
            self._following = asyncio.create_task(self.usage.run(), name=f"usage of {job.id}")
            self._following.add_done_callback(_log_failure)
            if self._measure is not None:
                started = uptime() if job.start_uptime is None else job.start_uptime
                self.resources = ResourceWatch(self._measure, started=started)
                self._sampling = asyncio.create_task(self.resources.run(), name=f"samples of {job.id}")
                self._sampling.add_done_callback(_log_failure)

    def stop_following(self) -> None:
        """Measure nothing more, and close the log. May be repeated."""
        for task in (self._following, self._sampling):
            if task is not None:
                task.cancel()
        if self.usage is not None:
            self.usage.close()

    async def close(self) -> None:
        self._wakeups.close()
        self.stop_following()
        if self.services is not None:
            await self.services.close()
        tasks = [task for task in (self._following, self._sampling) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)


def all_damage(seen: Observation, watch: AttemptWatch | None) -> str | None:
    """Return what the job has done to its log, as the files show it or as it was seen while the job ran."""
    if watch is None or watch.usage is None or not has_ended(seen):
        return seen.log_damage
    watch.usage.guard.look()
    return seen.log_damage or watch.usage.guard.damage


def usage_of(run: RunDirectory, watch: AttemptWatch | None, *, started: bool) -> Usage:
    """Return what the job uses, as the files show it and as it was measured while the job ran."""
    size, written = run.log_growth()
    moments = [moment for moment in ((written, run.started_at()) if started else ()) if moment is not None]
    followed = None if watch is None else watch.usage
    return Usage(
        size,
        max(moments, default=None),
        workspace_bytes=None if followed is None else followed.workspace_bytes,
        first_output=None if followed is None else followed.first_output,
    )


def _log_failure(following: "asyncio.Task[None]") -> None:
    if not following.cancelled() and following.exception() is not None:
        log.error("the %s is not followed any more", following.get_name(), exc_info=following.exception())


def _pause(left: int | None) -> float:
    if left is None:
        return TIMES_SECONDS
    return min(TIMES_SECONDS, max(SHORTEST_PAUSE, left / FASTEST_WRITER))
