"""Carries out the job types without a workload (`ci_common.job_types.Computed`).

Nothing of such a job is kept in memory: its end follows from its start time, so a new controller continues it.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ci_common.job_types import result_of, seconds_of
from ci_common.jobs import Job, State
from ci_common.run_directory.layout import ExitRecord
from ci_common.system.watch import FileWatcher
from ci_common.times import Clock, Uptime, uptime
from ci_controller.job_time import now_of
from ci_controller.policy.limits import Bounds
from ci_controller.policy.verdicts import Observed, Sight


class BuiltinExecution:
    """Computed jobs, as an `Execution`."""

    runtime_name = "builtin"

    def __init__(self, clock: Clock, uptime: Uptime = uptime) -> None:
        self._clock = clock
        self._uptime = uptime

    def bounds_of(self, job: Job) -> Bounds:
        return Bounds()

    def retry_of(self, job: Job) -> None:
        """Nothing of it can fail."""

    def watched(self, job: Job) -> Path | None:
        return None

    async def look(self, job: Job) -> Observed:
        if job.state is State.STARTING:
            return Observed(Sight.AT_GATE)
        if job.state is not State.RUNNING:
            return Observed(Sight.ABSENT)
        if job.stop_code is not None:
            return Observed(Sight.EXITED, started=True)
        if not self.has_ended(job):
            return Observed(Sight.RUNNING, started=True, over_at=_over_at(job))
        return Observed(Sight.EXITED, exit=ExitRecord(0, terminated=False), started=True)

    def is_at_gate(self, job: Job) -> bool:
        return True

    def has_ended(self, job: Job) -> bool:
        return now_of(job, self._clock, self._uptime) >= _over_at(job)

    async def create(self, job: Job) -> None: ...

    async def start(self, job: Job) -> None: ...

    async def move_in(self, job: Job) -> bool:
        return True

    async def move_out(self, job: Job) -> None: ...

    async def open_gate(self, job: Job) -> bool:
        return True

    def usage_watch(self, job: Job, watcher: FileWatcher, exceeded: Callable[[], None]) -> None: ...

    async def stop(self, job: Job, grace: float) -> None: ...

    async def collect(self, job: Job) -> dict[str, Any]:
        changes: dict[str, Any] = {"log_bytes": 0, "log_sha256": hashlib.sha256().hexdigest()}
        seen = await self.look(job)
        if seen.exit is not None:
            changes["result"] = result_of(job.type, job.payload)
        return changes

    def letting_go(self, job: Job) -> AbstractContextManager[None]:
        return nullcontext()

    def passed(self, job: Job) -> dict[str, int]:
        return {}

    async def discard(self, job: Job) -> None: ...

    async def make_room(self, job: Job) -> bool:
        return False

    async def taken(self, job: Job) -> int:
        return 0

    async def has_gone(self, job: Job) -> bool:
        return True

    async def clear(self, job: Job, *, has_ended: bool) -> None: ...


def _over_at(job: Job) -> datetime:
    assert job.start_time is not None, "a running job has a start time"
    return job.start_time + timedelta(seconds=seconds_of(job.type, job.payload))
