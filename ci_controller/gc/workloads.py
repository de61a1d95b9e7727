"""Workloads without a job."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from ci_controller.execution.protocol import Execution, Scope, without_row
from ci_controller.gc.runner import Collector
from ci_controller.runtime.protocol import WorkloadKey


@dataclass(eq=False)
class OrphanWorkloads(Collector[WorkloadKey]):
    """Workloads of this installation that have no row. Rows outlive workloads, so no job will come for them."""

    name = "orphan workloads"
    retry_seconds = 0.0
    grace_seconds = 60.0
    execution: Execution
    listed: list[WorkloadKey] = field(default_factory=list)
    """Those of the last listing that succeeded."""

    async def find(self) -> AsyncGenerator[list[WorkloadKey], None]:
        yield self.listed

    async def remove_one(self, item: WorkloadKey) -> None:
        await self.execution.clean_up(without_row(item), Scope.WORKLOAD)
