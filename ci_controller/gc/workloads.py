"""Garbage of a runtime: workloads without a job, and what a controller that died had made for itself."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from ci_controller.gc.runner import Collector
from ci_controller.runtime.protocol import Runtime, WorkloadKey


@dataclass(eq=False)
class OrphanWorkloads(Collector[WorkloadKey]):
    """Workloads of this installation that have no row. Rows outlive workloads, so no job will come for them."""

    name = "orphan workloads"
    retry_seconds = 0.0
    grace_seconds = 60.0
    runtime: Runtime
    listed: list[WorkloadKey] = field(default_factory=list)
    """Those of the last listing that succeeded."""

    async def find(self) -> AsyncGenerator[list[WorkloadKey], None]:
        yield self.listed

    async def remove_one(self, item: WorkloadKey) -> None:
        await self.runtime.remove(item)


@dataclass(eq=False)
class Helpers(Collector[str]):
    """What a runtime had made for a moment when its controller died, such as helper containers: looked for once."""

    name = "helpers of a controller that died"
    retry_seconds = 0.0
    runtime: Runtime
    is_done: bool = False

    async def find(self) -> AsyncGenerator[list[str], None]:
        if not self.is_done:
            yield [self.runtime.name]

    async def remove_one(self, item: str) -> None:  # noqa: ARG002  # there is one runtime
        await self.runtime.tidy()
        self.is_done = True
