"""Carries out the job types without a workload (`ci_common.job_types.Computed`).

Nothing of such a job is kept in memory: its end follows from its start time, so a new controller continues it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ci_common.job_types import result_of, seconds_of
from ci_common.jobs import Conclusion, Job, State
from ci_common.run_directory.exits import ExitRecord
from ci_common.times import Clock, Uptime, uptime
from ci_controller.execution.protocol import Collected, Scope, Wakeups
from ci_controller.job_writer import now_of
from ci_controller.policy import Observation, WorkloadPhase
from ci_controller.runtime.protocol import WorkloadKey

_NO_LOG = hashlib.sha256().hexdigest()


@dataclass(eq=False)
class BuiltinExecution:
    """Computed jobs, as an `Execution`."""

    clock: Clock
    uptime: Uptime = uptime
    runtime_name: str = field(default="builtin", init=False)

    async def prepare(self, job: Job) -> None: ...

    async def start(self, job: Job) -> None: ...

    async def observe(self, job: Job, *, measure: bool = False) -> Observation:
        if job.state is State.STARTING:
            return Observation(WorkloadPhase.AT_GATE)
        if job.state is not State.RUNNING:
            return Observation(WorkloadPhase.ABSENT)
        if job.stop_code is not None:
            return Observation(WorkloadPhase.EXITED, started=True)
        if not self.has_ended(job):
            return Observation(WorkloadPhase.RUNNING, started=True, ends_at=_ends_at(job))
        return Observation(WorkloadPhase.EXITED, exit=ExitRecord(0, terminated=False), started=True)

    async def release_gate(self, job: Job) -> bool:
        return True

    async def stop(self, job: Job, grace: float) -> None: ...

    async def collect(self, job: Job, conclusion: Conclusion | None = None) -> Collected:
        seen = await self.observe(job)
        return Collected(0, _NO_LOG, result=None if seen.exit is None else result_of(job.type, job.payload))

    async def clean_up(self, job: Job, scope: Scope = Scope.ALL) -> None: ...

    async def list(self) -> Collection[WorkloadKey]:
        return ()

    @asynccontextmanager
    async def events(self, job: Job) -> AsyncIterator[Wakeups]:
        yield _TimedWakeups(self)

    def has_ended(self, job: Job) -> bool:
        """Return whether a job that runs has taken its time."""
        return now_of(job, self.clock, self.uptime) >= _ends_at(job)


class _TimedWakeups:
    """Nothing happens to such a job by itself: the supervisor knows from `ends_at` when to observe it."""

    def __init__(self, execution: BuiltinExecution) -> None:
        self._execution = execution
        self._woken = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def peek(self, job: Job) -> WorkloadPhase:
        if job.state is not State.RUNNING:
            return WorkloadPhase.AT_GATE
        return WorkloadPhase.FINISHED if self._execution.has_ended(job) else WorkloadPhase.RUNNING


def _ends_at(job: Job) -> datetime:
    assert job.start_time is not None, "a running job has a start time"
    return job.start_time + timedelta(seconds=seconds_of(job.type, job.payload))
