"""What the suite of the `Execution` protocol works with."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from ci_common.jobs import Conclusion, Job, State, new_job_id
from ci_common.spec import ExecutionPlan, PlannedStep
from ci_common.times import utc_now
from ci_controller.execution.protocol import Collected, Execution, Scope, without_row
from ci_controller.policy import Observation, WorkloadPhase
from ci_controller.runtime.protocol import WorkloadKey
from tests.helpers.waiting import eventually

ENDED = (WorkloadPhase.FINISHED, WorkloadPhase.EXITED)
FOREVER = "while :; do sleep 0.02; done"
"""Shell text that ends only by a signal."""

MakeTrial = Callable[..., "Trial"]
Open = Callable[[], AbstractAsyncContextManager[Execution]]


class Trial:
    """One attempt on trial: its row, as a supervisor writes it, and what is done with it, in a few verbs."""

    def __init__(self, execution: Execution, job: Job) -> None:
        self.execution = execution
        self.job = job

    @property
    def key(self) -> WorkloadKey:
        return WorkloadKey.of(self.job)

    async def seen(self) -> Observation:
        return await self.execution.observe(self.job)

    async def phase(self) -> WorkloadPhase:
        return (await self.seen()).phase

    async def prepared(self) -> None:
        self.job = replace(self.job, state=State.STARTING)
        await self.execution.prepare(self.job)

    async def at_gate(self) -> None:
        """Prepare and start it, and wait until it is at its gate."""
        await self.prepared()
        await self.execution.start(self.job)

        async def is_there() -> bool:
            return await self.phase() is WorkloadPhase.AT_GATE

        await eventually(is_there, "it is at its gate")

    def running(self) -> None:
        """Write that it runs."""
        self.job = replace(self.job, state=State.RUNNING, start_time=utc_now())

    async def begun(self) -> None:
        await self.at_gate()
        self.running()
        await self.execution.release_gate(self.job)

    async def ended(self) -> Observation:
        """Return the first observation of its end."""

        async def has_ended() -> Observation | None:
            seen = await self.seen()
            return seen if seen.phase in ENDED else None

        seen = await eventually(has_ended, "it has ended")
        assert seen is not None
        return seen

    async def executed(self) -> Observation:
        await self.begun()
        return await self.ended()

    async def completed(self) -> Collected:
        """Collect what it left, and write its end."""
        left = await self.execution.collect(self.job)
        ended = {"conclusion": Conclusion.SUCCEEDED, "end_time": utc_now(), "log_bytes": left.log_bytes}
        self.job = replace(self.job, state=State.COMPLETED, **ended)
        return left

    async def cleaned_up(self, scope: Scope = Scope.ALL) -> None:
        await self.execution.clean_up(self.job, scope)


def has_log(left: Collected, log: bytes) -> bool:
    """Return whether this is the log of an attempt."""
    return (left.log_bytes, left.log_sha256) == (len(log), hashlib.sha256(log).hexdigest())


class ExecutionBench:
    """The fixtures, and what an implementation gives."""

    @pytest.fixture
    def open_execution(self) -> Open:
        """Return what opens an execution.

        Opened again, it is that of a controller that was started again, while the first one may still be there.
        """
        raise NotImplementedError

    @pytest.fixture
    async def execution(self, open_execution: Open) -> AsyncIterator[Execution]:
        async with open_execution() as execution:
            yield execution

    def quick(self) -> Job:
        """Return a new job that ends by itself, well and soon, with `self.quick_log` in its log."""
        raise NotImplementedError

    def endless(self) -> Job:
        """Return a new job that does not end by itself."""
        raise NotImplementedError

    quick_log = b""

    @pytest.fixture
    def trial(self, execution: Execution) -> MakeTrial:
        return lambda job: Trial(execution, job)


class ScriptBench(ExecutionBench):
    """What an implementation gives that runs scripts."""

    image = "none"
    quick_log = b"ran\n"

    def script(self, *shell: str, **plan: Any) -> Job:
        """Return a new job that runs these shell texts, one per step; `plan` is the rest of its plan."""
        steps = tuple(PlannedStep(name=f"step {n}", shell=text) for n, text in enumerate(shell))
        fields: dict[str, Any] = {"image": self.image, "steps": steps, "timeout": 60, "network": False}
        return Job(
            id=new_job_id(),
            type="container",
            submit_time=utc_now(),
            image=self.image,
            plan=ExecutionPlan.model_validate(fields | plan).model_dump(mode="json"),
        )

    def quick(self) -> Job:
        return self.script("echo ran")

    def endless(self) -> Job:
        return self.script(f"echo begun; {FOREVER}")


@asynccontextmanager
async def cleaned_afterwards(execution: Execution) -> AsyncIterator[Execution]:
    """Yield the execution, and remove what is left of all attempts then."""
    try:
        yield execution
    finally:
        for key in await execution.list():
            await execution.clean_up(without_row(key), Scope.WORKLOAD)
